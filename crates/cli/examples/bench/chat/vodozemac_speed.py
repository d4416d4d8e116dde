"""Measures vodozemac through its Python package, for scripts/bench. Its protocol, Olm, has the same ratchet but other
messages. Prints one JSON object: microseconds for each operation, the median of 9 runs."""

import json
import time

import vodozemac

PLAINTEXT = bytes([7]) * 256


def measure(count, run):
    times = []
    for turn in range(9):
        start = time.perf_counter()
        for index in range(count):
            run(turn * count + index)
        times.append((time.perf_counter() - start) * 1e6 / count)
    return round(sorted(times)[4], 2)


alice, bob = vodozemac.Account(), vodozemac.Account()


def begin():
    bob.generate_one_time_keys(1)
    key = next(iter(bob.one_time_keys.values()))
    bob.mark_keys_as_published()
    return alice.create_outbound_session(bob.curve25519_key, key)


def receive(message):
    return bob.create_inbound_session(alice.curve25519_key, message.to_pre_key())


figures = {}
ours = begin()
theirs = receive(ours.encrypt(PLAINTEXT))
if isinstance(theirs, tuple):
    theirs = theirs[0]
ours.decrypt(theirs.encrypt(PLAINTEXT))
sent = []
figures["encrypt"] = measure(500, lambda _: sent.append(ours.encrypt(PLAINTEXT)))
figures["decrypt"] = measure(500, lambda index: theirs.decrypt(sent[index]))


def exchange(_):
    theirs.decrypt(ours.encrypt(PLAINTEXT))
    ours.decrypt(theirs.encrypt(PLAINTEXT))


figures["dh_step"] = round(measure(100, exchange) / 2, 2)
print(json.dumps(figures))
