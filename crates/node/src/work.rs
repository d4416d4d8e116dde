//! The recommended proof of work for our own messages.

use wormhole_whisper::shh::Work;

/// The default work of an own envelope: our own requirement, at least the usual one, and what most peers require. Not
/// the maximum of all peers: a single peer could otherwise mark our messages by their work, or make us work for
/// ever.
pub fn recommended_work(own: Work, of_peers: impl IntoIterator<Item = Work>) -> Work {
    let own = own.max(Work::DEFAULT_MINIMUM);
    let mut of_peers: Vec<_> = of_peers.into_iter().collect();
    of_peers.sort_unstable_by(|one, other| one.as_f64().total_cmp(&other.as_f64()));
    let middle = of_peers.len().saturating_sub(1) / 2;
    let is_reasonable = |work: &Work| work.as_f64() <= WITHIN_REASON * own.as_f64();
    of_peers.get(middle).copied().filter(is_reasonable).map_or(own, |work| work.max(own))
}

/// Maximum factor by which peers can raise the work. Peers that require more do not receive the message.
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
