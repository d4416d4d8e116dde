//! The free short nameplates, so that new codes are short.
//!
//! This is a summary of the table of nameplates: searching the table itself for a free number would read
//! up to 999 rows for each allocation.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rand_core::RngCore;

/// The nameplates below 1000 in use, by application.
#[derive(Clone, Debug, Default)]
pub(super) struct ShortNameplates {
    apps: HashMap<String, TakenNumbers>,
}

/// One bit per number.
#[derive(Clone, Debug, Default)]
struct TakenNumbers {
    bits: [u64; WORDS],
    count: usize,
}

impl ShortNameplates {
    /// Marks a nameplate as in use.
    pub(super) fn mark_taken(&mut self, app: &str, name: &str) {
        let Some(number) = short(name) else { return };
        if let Some(taken) = self.apps.get_mut(app) {
            taken.set(number);
        } else {
            self.apps.entry(app.into()).or_default().set(number);
        }
    }

    /// Marks a nameplate as free.
    pub(super) fn mark_free(&mut self, app: &str, name: &str) {
        let Some(number) = short(name) else { return };
        let Some(taken) = self.apps.get_mut(app) else { return };
        taken.clear(number);
        if taken.count == 0 {
            self.apps.remove(app);
        }
    }

    /// Picks a free nameplate of the shortest length that has one; `None` if all below 1000 are in use.
    pub(super) fn pick(&self, app: &str, rng: &mut impl RngCore) -> Option<String> {
        let nothing = TakenNumbers::default();
        let taken = self.apps.get(app).unwrap_or(&nothing);
        SHORT.into_iter().find_map(|numbers| {
            let free = numbers.clone().filter(|number| !taken.has(*number)).count();
            let nth = below(u32::try_from(free).ok()?, rng)?;
            numbers.filter(|number| !taken.has(*number)).nth(nth).map(|number| number.to_string())
        })
    }

    /// The number of free short nameplates.
    pub(super) fn free(&self, app: &str) -> usize {
        let taken = self.apps.get(app).map_or(0, |taken| taken.count);
        (LONG_FIRST - 1).saturating_sub(taken)
    }

    /// Picks a random number of four to six digits.
    pub(super) fn pick_long(rng: &mut impl RngCore) -> String {
        let number = below(LONG_COUNT, rng).unwrap_or_default() + LONG_FIRST;
        number.to_string()
    }
}

impl TakenNumbers {
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

/// The number of a nameplate, if [`ShortNameplates::pick`] could return it. `07` is a different nameplate than `7`, and
/// is never picked.
fn short(name: &str) -> Option<usize> {
    let number = name.parse().ok()?;
    let picked = (1..LONG_FIRST).contains(&number) && !name.starts_with(['0', '+']);
    picked.then_some(number)
}

/// A random number below `count`, uniform to within 2⁻⁵⁰; `None` if `count` is 0.
fn below(count: u32, rng: &mut impl RngCore) -> Option<usize> {
    let number = rng.next_u64().checked_rem(u64::from(count))?;
    usize::try_from(number).ok()
}

/// The ranges of short numbers. Shorter numbers are used first.
const SHORT: [RangeInclusive<usize>; 3] = [1..=9, 10..=99, 100..=999];

/// The first number that is too long to be in the summary.
const LONG_FIRST: usize = 1000;

/// Count of the numbers of four to six digits.
const LONG_COUNT: u32 = 999_000;

/// Number of words for one bit per short number.
const WORDS: usize = LONG_FIRST / 64 + 1;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn shorter_nameplates_are_picked_first_and_each_only_once() {
        let (mut nameplates, mut rng) = (ShortNameplates::default(), ChaCha8Rng::seed_from_u64(1));
        let picked: Vec<usize> = std::iter::from_fn(|| {
            let name = nameplates.pick("app", &mut rng)?;
            nameplates.mark_taken("app", &name);
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
        let (mut nameplates, mut rng) = (ShortNameplates::default(), ChaCha8Rng::seed_from_u64(1));
        for number in 1..1000 {
            nameplates.mark_taken("app", &number.to_string());
        }
        assert_eq!(nameplates.pick("app", &mut rng), None);
        nameplates.mark_free("app", "500");
        assert_eq!(nameplates.pick("app", &mut rng), Some("500".into()));
    }

    #[test]
    fn applications_have_separate_nameplates_and_unused_applications_need_no_memory() {
        let (mut nameplates, mut rng) = (ShortNameplates::default(), ChaCha8Rng::seed_from_u64(1));
        for number in 1..10 {
            nameplates.mark_taken("one", &number.to_string());
        }
        assert_eq!(nameplates.pick("other", &mut rng).map(|name| name.len()), Some(1));
        assert_eq!(nameplates.pick("one", &mut rng).map(|name| name.len()), Some(2));
        for number in 1..10 {
            nameplates.mark_free("one", &number.to_string());
        }
        assert!(nameplates.apps.is_empty());
    }

    #[test]
    fn nameplates_that_are_never_picked_are_ignored() {
        let mut nameplates = ShortNameplates::default();
        for name in ["0", "07", "+7", "1000", "184467440737095516160", "x", ""] {
            nameplates.mark_taken("app", name);
        }
        assert!(nameplates.apps.is_empty());
    }
}
