//! How much proof of work a message of our own should have.

use wormhole_whisper::shh::Work;

/// The work of an own envelope unless told otherwise: what we ask for ourselves, no less than usual,
/// and what most peers ask for. Not what each of them asks for: a single one could mark what we say
/// by the work in it, and one that asks for very much could make us work for ever.
pub fn recommended_work(own: Work, of_peers: impl IntoIterator<Item = Work>) -> Work {
    let own = own.max(Work::DEFAULT_MINIMUM);
    let mut of_peers: Vec<_> = of_peers.into_iter().collect();
    of_peers.sort_unstable_by(|one, other| one.as_f64().total_cmp(&other.as_f64()));
    let middle = of_peers.len().saturating_sub(1) / 2;
    let is_reasonable = |work: &Work| work.as_f64() <= WITHIN_REASON * own.as_f64();
    of_peers.get(middle).copied().filter(is_reasonable).map_or(own, |work| work.max(own))
}

/// How many times as much as we need anyway most peers may ask for. Else they do without us.
const WITHIN_REASON: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_work_as_most_peers_ask_for_is_done_within_reason() {
        let work = |amount: f64| Work::new(amount).unwrap();
        let usual = |own: f64, peers: &[f64]| {
            recommended_work(work(own), peers.iter().map(|amount| work(*amount))).as_f64()
        };
        assert_eq!((usual(0.0, &[]), usual(1.0, &[])), (0.2, 1.0));
        assert_eq!((usual(0.2, &[1.0]), usual(0.2, &[0.1])), (1.0, 0.2));
        // One in three marks nobody.
        assert_eq!(usual(0.2, &[0.2, 1.9, 0.2]), 0.2);
        assert_eq!(usual(0.2, &[0.5, 1.9, 0.2]), 0.5);
        assert_eq!(usual(0.2, &[3.0, 3.0, 3.0]), 0.2);
    }
}
