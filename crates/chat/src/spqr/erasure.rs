//! The erasure code: a message of `k` chunks becomes 65,536 chunks, of which any `k` restore it.
//!
//! Column `c` of the message is a polynomial of a degree below `k`: its value at `x` is element `c` of chunk `x`. So the
//! first `k` chunks are the message itself.

use std::borrow::Cow;
use std::sync::OnceLock;

use super::field::{Row, WIDTH, invert, multiply};
use super::wire::{CHUNK, SpqrChunk};

/// Emits the chunks of a message one after the other. A chunk does not arrive for sure, so there is always a next one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Encoder {
    message: Vec<u8>,
    next: u16,
}

impl Encoder {
    /// Begins with the first chunk. `message` has a whole number of chunks.
    pub(super) const fn new(message: Vec<u8>) -> Self {
        Self::resume(message, 0)
    }

    /// Continues with chunk `next`.
    pub(super) const fn resume(message: Vec<u8>, next: u16) -> Self {
        Self { message, next }
    }

    /// The message, and the number of the next chunk.
    pub(super) fn parts(&self) -> (&[u8], u16) {
        (&self.message, self.next)
    }

    /// The next chunk. After the last one, the first one follows.
    pub(super) fn next_chunk(&mut self) -> SpqrChunk {
        let index = self.next;
        self.next = index.wrapping_add(1);
        let (rows, _) = self.message.as_chunks::<CHUNK>();
        let data = match rows.get(usize::from(index)) {
            Some(row) => *row,
            None => {
                let points: Vec<_> =
                    rows.iter().zip(0..).map(|(row, x)| (x, elements(row))).collect();
                Interpolation::of_message(&points).at(index)
            }
        };
        SpqrChunk { index, data }
    }
}

/// Collects the chunks of a message until it can be restored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Decoder {
    needed: usize,
    /// In the order of their arrival. Fewer than `needed`.
    chunks: Vec<SpqrChunk>,
}

impl Decoder {
    /// Collects the chunks of a message of `length` bytes.
    pub(super) const fn new(length: usize) -> Self {
        Self { needed: length / CHUNK, chunks: Vec::new() }
    }

    /// The chunks so far.
    pub(super) fn chunks(&self) -> &[SpqrChunk] {
        &self.chunks
    }

    /// Adds a chunk. Gives the message once that is complete: this decoder is then of no further use. A chunk with a
    /// number that arrived before is ignored.
    pub(super) fn add(&mut self, chunk: &SpqrChunk) -> Option<Vec<u8>> {
        if self.chunks.iter().any(|held| held.index == chunk.index) {
            return None;
        }
        self.chunks.push(*chunk);
        (self.chunks.len() >= self.needed).then(|| self.restore())
    }

    fn restore(&self) -> Vec<u8> {
        let points: Vec<_> =
            self.chunks.iter().map(|chunk| (chunk.index, elements(&chunk.data))).collect();
        let mut interpolation = None;
        let mut message = Vec::with_capacity(self.needed * CHUNK);
        for x in (0..=u16::MAX).take(self.needed) {
            match self.chunks.iter().find(|chunk| chunk.index == x) {
                Some(chunk) => message.extend(chunk.data),
                None => {
                    let known = interpolation.get_or_insert_with(|| Interpolation::new(&points));
                    message.extend(known.at(x));
                }
            }
        }
        message
    }
}

/// The polynomials through some points (Lagrange).
struct Interpolation<'a> {
    points: &'a [(u16, [u16; WIDTH])],
    /// For each point, the inverse of the product of its differences from the others.
    weights: Cow<'static, [u16]>,
}

impl<'a> Interpolation<'a> {
    fn new(points: &'a [(u16, [u16; WIDTH])]) -> Self {
        Self { points, weights: weights(points).into() }
    }

    /// The same through the first points, whose weights are computed only once for each number of points: a side that gets
    /// no answer sends many chunks after the first ones.
    fn of_message(points: &'a [(u16, [u16; WIDTH])]) -> Self {
        let weights = match WEIGHTS.get(points.len()) {
            Some(known) => known.get_or_init(|| weights(points)).as_slice().into(),
            None => weights(points).into(),
        };
        Self { points, weights }
    }

    /// The values at `x`, which is not one of the points.
    fn at(&self, x: u16) -> [u8; CHUNK] {
        // The product of the differences from all later points, for each point, the last point first.
        let after: Vec<u16> = self
            .points
            .iter()
            .rev()
            .scan(1, |product, (other, _)| {
                let after = *product;
                *product = multiply(after, x ^ other);
                Some(after)
            })
            .collect();
        let (mut sum, mut before) = (Row::default(), 1);
        for (((other, row), weight), after) in
            self.points.iter().zip(self.weights.iter()).zip(after.iter().rev())
        {
            sum.add_product(multiply(multiply(before, *after), *weight), row);
            before = multiply(before, x ^ other);
        }
        let mut data = [0; CHUNK];
        let (pairs, _) = data.as_chunks_mut::<2>();
        pairs.iter_mut().zip(sum.reduce()).for_each(|(to, from)| *to = from.to_be_bytes());
        data
    }
}

fn weights(points: &[(u16, [u16; WIDTH])]) -> Vec<u16> {
    let weight = |(x, _): &(u16, _)| {
        let others = points.iter().filter(|(other, _)| other != x);
        invert(others.fold(1, |product, (other, _)| multiply(product, x ^ other)))
    };
    points.iter().map(weight).collect()
}

/// The weights of the first points, by their number. Messages have at most 36 chunks.
static WEIGHTS: [OnceLock<Vec<u16>>; 37] = [const { OnceLock::new() }; 37];

fn elements(row: &[u8; CHUNK]) -> [u16; WIDTH] {
    let mut elements = [0; WIDTH];
    let (pairs, _) = row.as_chunks::<2>();
    elements.iter_mut().zip(pairs).for_each(|(to, from)| *to = u16::from_be_bytes(*from));
    elements
}

#[cfg(test)]
mod tests;
