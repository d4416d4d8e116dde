//! The field GF(2^16) with the modulus x^16 + x^12 + x^3 + x + 1, in which chunks are computed.
//!
//! The values are public on the wire, so the time that the operations take may depend on them.

/// The product of two elements.
pub(super) fn multiply(a: u16, b: u16) -> u16 {
    reduce(carryless(a, b))
}

/// The inverse of an element other than 0.
pub(super) fn invert(element: u16) -> u16 {
    // The group has 2^16 - 1 elements, so the inverse is the power 2^16 - 2 = 2 + 4 + ... + 2^15.
    let mut square = element;
    let mut inverse = 1;
    for _ in 1..16 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
    }
    inverse
}

/// A sum of products, which is reduced only once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row([u32; WIDTH]);

impl Row {
    /// Adds `factor` times `row`.
    pub(super) fn add_product(&mut self, factor: u16, row: &[u16; WIDTH]) {
        for bit in (0..16).filter(|bit| factor >> bit & 1 == 1) {
            self.0
                .iter_mut()
                .zip(row)
                .for_each(|(sum, element)| *sum ^= u32::from(*element) << bit);
        }
    }

    /// The reduced sum.
    pub(super) fn reduce(&self) -> [u16; WIDTH] {
        self.0.map(reduce)
    }
}

fn carryless(a: u16, b: u16) -> u32 {
    (0..16).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ u32::from(a) << bit)
}

/// The rest of a product divided by the modulus.
fn reduce(mut product: u32) -> u16 {
    // Each round replaces what is above x^15 by its rest, and leaves at most 11, 7, 3 and 0 bits there.
    for _ in 0..4 {
        let high = product >> 16;
        product = (product & 0xffff) ^ high ^ (high << 1) ^ (high << 3) ^ (high << 12);
    }
    u16::try_from(product).unwrap_or_default()
}

/// Elements in a chunk.
pub(super) const WIDTH: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn products_and_inverses_have_the_known_values() {
        for (a, b, product) in
            [(0x1234, 0x5678, 0x6324), (0xffff, 0xffff, 0x0733), (0x8000, 2, 0x100b)]
        {
            assert_eq!(multiply(a, b), product);
        }
        for (element, inverse) in [(2, 0x8805), (0x1234, 0x2ce9), (0xffff, 0x0894), (1, 1)] {
            assert_eq!(invert(element), inverse);
        }
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        assert!((1..=u16::MAX).all(|element| multiply(element, invert(element)) == 1));
    }

    proptest! {
        #[test]
        fn it_is_a_field(a: u16, b: u16, c: u16) {
            prop_assert_eq!(multiply(a, b), multiply(b, a));
            prop_assert_eq!(multiply(a, multiply(b, c)), multiply(multiply(a, b), c));
            prop_assert_eq!(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
            prop_assert_eq!(multiply(a, 1), a);
        }

        #[test]
        fn a_row_is_the_sum_of_its_products(factors: [u16; 4], rows: [[u16; WIDTH]; 4]) {
            let mut sum = Row::default();
            factors.iter().zip(&rows).for_each(|(factor, row)| sum.add_product(*factor, row));
            for (column, element) in sum.reduce().iter().enumerate() {
                let products = factors.iter().zip(&rows).map(|(f, row)| multiply(*f, row[column]));
                prop_assert_eq!(*element, products.fold(0, |a, b| a ^ b));
            }
        }
    }
}
