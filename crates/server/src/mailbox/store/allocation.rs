//! Which short nameplates are free, so that codes stay easy to say.
//!
//! Only a summary of the table of nameplates: looking for a gap in the table itself would read up
//! to 999 rows for each allocation.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rand_core::RngCore;

/// The nameplates below 1000 in use, by application.
#[derive(Clone, Debug, Default)]
pub(super) struct Allocation {
    apps: HashMap<String, Taken>,
}

/// One bit per number.
#[derive(Clone, Debug, Default)]
struct Taken {
    bits: [u64; WORDS],
    count: usize,
}

impl Allocation {
    /// Notes that a nameplate is in use.
    pub(super) fn taken(&mut self, app: &str, name: &str) {
        let Some(number) = short(name) else { return };
        if let Some(taken) = self.apps.get_mut(app) {
            taken.set(number);
        } else {
            self.apps.entry(app.into()).or_default().set(number);
        }
    }

    /// Notes that a nameplate is free again.
    pub(super) fn freed(&mut self, app: &str, name: &str) {
        let Some(number) = short(name) else { return };
        let Some(taken) = self.apps.get_mut(app) else { return };
        taken.clear(number);
        if taken.count == 0 {
            self.apps.remove(app);
        }
    }

    /// Any free nameplate of the shortest length that has one; none if all below 1000 are in use.
    pub(super) fn pick(&self, app: &str, rng: &mut impl RngCore) -> Option<String> {
        let nothing = Taken::default();
        let taken = self.apps.get(app).unwrap_or(&nothing);
        SHORT.into_iter().find_map(|numbers| {
            let free = numbers.clone().filter(|number| !taken.has(*number)).count();
            let nth = below(u32::try_from(free).ok()?, rng)?;
            numbers.filter(|number| !taken.has(*number)).nth(nth).map(|number| number.to_string())
        })
    }

    /// Any number of four to six digits.
    pub(super) fn long(rng: &mut impl RngCore) -> String {
        let number = below(LONG_COUNT, rng).unwrap_or_default() + LONG_FIRST;
        number.to_string()
    }
}

impl Taken {
    fn has(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn set(&mut self, number: usize) {
        if !self.has(number)
            && let Some(word) = self.bits.get_mut(number / 64)
        {
            *word |= 1 << (number % 64);
            self.count += 1;
        }
    }

    fn clear(&mut self, number: usize) {
        if self.has(number)
            && let Some(word) = self.bits.get_mut(number / 64)
        {
            *word &= !(1 << (number % 64));
            self.count -= 1;
        }
    }
}

/// The number of a nameplate that could have been picked as a short one. `07` is none: it is
/// another nameplate than `7`.
fn short(name: &str) -> Option<usize> {
    let number = name.parse().ok()?;
    let picked = (1..LONG_FIRST).contains(&number) && !name.starts_with(['0', '+']);
    picked.then_some(number)
}

/// A number below `count`, each as likely as the others to within 2⁻⁵⁰; none if there is none.
fn below(count: u32, rng: &mut impl RngCore) -> Option<usize> {
    let number = rng.next_u64().checked_rem(u64::from(count))?;
    usize::try_from(number).ok()
}

/// Lengths in the order in which they are used up.
const SHORT: [RangeInclusive<usize>; 3] = [1..=9, 10..=99, 100..=999];

/// First number that is picked by chance alone.
const LONG_FIRST: usize = 1000;

/// How many of those there are.
const LONG_COUNT: u32 = 999_000;

/// Words that hold a bit for each short number.
const WORDS: usize = LONG_FIRST / 64 + 1;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn shorter_nameplates_are_used_up_first_and_each_is_picked_once() {
        let (mut allocation, mut rng) = (Allocation::default(), ChaCha8Rng::seed_from_u64(1));
        let picked: Vec<usize> = std::iter::from_fn(|| {
            let name = allocation.pick("app", &mut rng)?;
            allocation.taken("app", &name);
            name.parse().ok()
        })
        .collect();
        assert_eq!(picked.len(), 999);
        assert!(picked[..9].iter().all(|number| *number < 10));
        assert!(picked[9..99].iter().all(|number| (10..100).contains(number)));
        let distinct: std::collections::BTreeSet<_> = picked.iter().collect();
        assert_eq!(distinct.len(), 999);
    }

    #[test]
    fn a_freed_nameplate_is_picked_again() {
        let (mut allocation, mut rng) = (Allocation::default(), ChaCha8Rng::seed_from_u64(1));
        for number in 1..1000 {
            allocation.taken("app", &number.to_string());
        }
        assert_eq!(allocation.pick("app", &mut rng), None);
        allocation.freed("app", "500");
        assert_eq!(allocation.pick("app", &mut rng), Some("500".into()));
    }

    #[test]
    fn applications_do_not_share_nameplates_and_unused_ones_take_no_memory() {
        let (mut allocation, mut rng) = (Allocation::default(), ChaCha8Rng::seed_from_u64(1));
        for number in 1..10 {
            allocation.taken("one", &number.to_string());
        }
        assert_eq!(allocation.pick("other", &mut rng).map(|name| name.len()), Some(1));
        assert_eq!(allocation.pick("one", &mut rng).map(|name| name.len()), Some(2));
        for number in 1..10 {
            allocation.freed("one", &number.to_string());
        }
        assert!(allocation.apps.is_empty());
    }

    #[test]
    fn nameplates_that_are_never_picked_are_passed_over() {
        let mut allocation = Allocation::default();
        for name in ["0", "07", "+7", "1000", "184467440737095516160", "x", ""] {
            allocation.taken("app", name);
        }
        assert!(allocation.apps.is_empty());
    }
}
