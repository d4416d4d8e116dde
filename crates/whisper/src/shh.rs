//! Whisper v6 itself (EIP-627, spec section 1): envelopes, messages, work, pool, peers, filters.
