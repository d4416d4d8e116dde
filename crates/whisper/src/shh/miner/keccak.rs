//! The nonce search on Keccak-f\[1600\], written once for lanes of any width.
//!
//! The macro expects a lane type and its operations in scope: this file uses it with `u64`, `simd.rs` with x86
//! vectors. It is not a general Keccak: the last round only computes what determines the leading zeros.

/// Defines `search` (see [`super::Task::search`]) over `$lanes`, a vector of `$width` nonces.
///
/// Must be in scope: `splat(u64)`, `pack([u64; width])`, `xor`, `xor3`, `rotate::<LEFT>`,
/// `chi(a, b, c) = a ^ (!b & c)` and `first_hit(lanes, mask)`, which returns the first lane without any bit of
/// `mask`.
macro_rules! search_with {
    ($lanes:ty, $width:literal, $(#[$attribute:meta])*) => {
        /// Tries `batches` batches of nonces, one nonce per lane, from `start` on.
        $(#[$attribute])*
        pub(in crate::shh::miner) fn search(task: &Task, start: u64, batches: u64, mask: u64) -> Option<u64> {
            let first = task.first.map(|lane| splat(lane));
            let mut nonce = start;
            for _ in 0..batches {
                let mut state = first;
                absorb_nonces(task, nonce, &mut state);
                let lane = last_round(rounds(state));
                if let Some(index) = first_hit(lane, mask) {
                    return Some(nonce.wrapping_add(u64::from(index)));
                }
                nonce = nonce.wrapping_add($width);
            }
            None
        }

        /// Absorbs the nonces, and the second block if there is one.
        $(#[$attribute])*
        #[inline]
        fn absorb_nonces(task: &Task, nonce: u64, state: &mut [$lanes; 25]) {
            let mut low = [0; $width];
            let mut high = [0; $width];
            for ((low, high), index) in low.iter_mut().zip(&mut high).zip(0..) {
                (*low, *high) = task.place(nonce.wrapping_add(index));
            }
            let high = pack(high);
            if let Some(lane) = state.get_mut(task.nonce_lane) {
                *lane = xor(*lane, pack(low));
            }
            let spills = task.nonce_lane == LAST_LANE;
            if !spills && let Some(lane) = state.get_mut(task.nonce_lane + 1) {
                *lane = xor(*lane, high);
            }
            let Some(second) = &task.second else { return };
            *state = last_full_round(rounds(*state));
            for (lane, word) in state.iter_mut().zip(second) {
                *lane = xor(*lane, splat(*word));
            }
            if spills && let Some(lane) = state.first_mut() {
                *lane = xor(*lane, high);
            }
        }

        /// All rounds except the last.
        $(#[$attribute])*
        #[inline]
        fn rounds(mut state: [$lanes; 25]) -> [$lanes; 25] {
            // Two at a time, so that the lanes need not be moved back.
            let (pairs, odd) = ROUND_CONSTANTS.as_chunks();
            for [one, two] in pairs {
                state = round(round(state, *one), *two);
            }
            odd.iter().fold(state, |state, constant| round(state, *constant))
        }

        /// The last round, when another block follows.
        $(#[$attribute])*
        #[inline]
        fn last_full_round(state: [$lanes; 25]) -> [$lanes; 25] {
            round(state, LAST_CONSTANT)
        }

        /// Lane 0 after the last round.
        $(#[$attribute])*
        #[inline]
        fn last_round(state: [$lanes; 25]) -> $lanes {
            let [c0, c1, c2, c3, c4] = columns(&state);
            let [a0, _, _, _, _, _, a6, _, _, _, _, _, a12, ..] = state;
            let b0 = xor3(a0, c4, rotate::<1>(c1));
            let b1 = rotate::<44>(xor3(a6, c0, rotate::<1>(c2)));
            let b2 = rotate::<43>(xor3(a12, c1, rotate::<1>(c3)));
            xor(chi(b0, b1, b2), splat(LAST_CONSTANT))
        }

        /// The parity of each column.
        $(#[$attribute])*
        #[inline]
        fn columns(state: &[$lanes; 25]) -> [$lanes; 5] {
            let [
                a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17,
                a18, a19, a20, a21, a22, a23, a24,
            ] = *state;
            [
                xor3(xor3(a0, a5, a10), a15, a20),
                xor3(xor3(a1, a6, a11), a16, a21),
                xor3(xor3(a2, a7, a12), a17, a22),
                xor3(xor3(a3, a8, a13), a18, a23),
                xor3(xor3(a4, a9, a14), a19, a24),
            ]
        }

        /// One round: θ, ρ and π lane by lane, then χ row by row, then ι (FIPS 202 §3.2).
        $(#[$attribute])*
        #[inline]
        fn round(state: [$lanes; 25], constant: u64) -> [$lanes; 25] {
            let [c0, c1, c2, c3, c4] = columns(&state);
            let [
                a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17,
                a18, a19, a20, a21, a22, a23, a24,
            ] = state;
            let (r0, r1, r2) = (rotate::<1>(c0), rotate::<1>(c1), rotate::<1>(c2));
            let (r3, r4) = (rotate::<1>(c3), rotate::<1>(c4));
            let (b0, b5) = (xor3(a0, c4, r1), rotate::<28>(xor3(a3, c2, r4)));
            let (b1, b6) = (rotate::<44>(xor3(a6, c0, r2)), rotate::<20>(xor3(a9, c3, r0)));
            let (b2, b7) = (rotate::<43>(xor3(a12, c1, r3)), rotate::<3>(xor3(a10, c4, r1)));
            let (b3, b8) = (rotate::<21>(xor3(a18, c2, r4)), rotate::<45>(xor3(a16, c0, r2)));
            let (b4, b9) = (rotate::<14>(xor3(a24, c3, r0)), rotate::<61>(xor3(a22, c1, r3)));
            let (b10, b15) = (rotate::<1>(xor3(a1, c0, r2)), rotate::<27>(xor3(a4, c3, r0)));
            let (b11, b16) = (rotate::<6>(xor3(a7, c1, r3)), rotate::<36>(xor3(a5, c4, r1)));
            let (b12, b17) = (rotate::<25>(xor3(a13, c2, r4)), rotate::<10>(xor3(a11, c0, r2)));
            let (b13, b18) = (rotate::<8>(xor3(a19, c3, r0)), rotate::<15>(xor3(a17, c1, r3)));
            let (b14, b19) = (rotate::<18>(xor3(a20, c4, r1)), rotate::<56>(xor3(a23, c2, r4)));
            let (b20, b21) = (rotate::<62>(xor3(a2, c1, r3)), rotate::<55>(xor3(a8, c2, r4)));
            let (b22, b23) = (rotate::<39>(xor3(a14, c3, r0)), rotate::<41>(xor3(a15, c4, r1)));
            let b24 = rotate::<2>(xor3(a21, c0, r2));
            [
                xor(chi(b0, b1, b2), splat(constant)),
                chi(b1, b2, b3), chi(b2, b3, b4), chi(b3, b4, b0), chi(b4, b0, b1),
                chi(b5, b6, b7), chi(b6, b7, b8), chi(b7, b8, b9), chi(b8, b9, b5), chi(b9, b5, b6),
                chi(b10, b11, b12), chi(b11, b12, b13), chi(b12, b13, b14), chi(b13, b14, b10),
                chi(b14, b10, b11),
                chi(b15, b16, b17), chi(b16, b17, b18), chi(b17, b18, b19), chi(b18, b19, b15),
                chi(b19, b15, b16),
                chi(b20, b21, b22), chi(b21, b22, b23), chi(b22, b23, b24), chi(b23, b24, b20),
                chi(b24, b20, b21),
            ]
        }
    };
}

pub(super) use search_with;

/// One nonce at a time on any processor.
pub(super) mod portable {
    use super::{super::Task, LAST_CONSTANT, LAST_LANE, ROUND_CONSTANTS};

    search_with!(u64, 1,);

    /// The whole permutation, for the bytes before the nonce and for checking a result.
    pub(in crate::shh::miner) fn permute(state: [u64; 25]) -> [u64; 25] {
        last_full_round(rounds(state))
    }

    const fn splat(word: u64) -> u64 {
        word
    }

    const fn pack([word]: [u64; 1]) -> u64 {
        word
    }

    const fn xor(a: u64, b: u64) -> u64 {
        a ^ b
    }

    // Each operand is used five times: this form lets the compiler compute the common part once.
    const fn xor3(a: u64, b: u64, c: u64) -> u64 {
        a ^ (b ^ c)
    }

    const fn rotate<const LEFT: i32>(a: u64) -> u64 {
        a.rotate_left(LEFT.unsigned_abs())
    }

    const fn chi(a: u64, b: u64, c: u64) -> u64 {
        a ^ (!b & c)
    }

    const fn first_hit(lane: u64, mask: u64) -> Option<u32> {
        if lane & mask == 0 { Some(0) } else { None }
    }
}

/// The last lane of a block; anything after it belongs to the next block.
pub(super) const LAST_LANE: usize = 16;

/// Round constants of all rounds except the last (FIPS 202 §3.2.5).
pub(super) const ROUND_CONSTANTS: [u64; 23] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
];

/// Round constant of the last round.
pub(super) const LAST_CONSTANT: u64 = 0x8000_0000_8000_8008;
