#!/usr/bin/env python3
"""Writes xeddsa.json and x3dh_oracle.json with the PyPI packages X3DH 1.3.0 and XEdDSA 1.2.0 (MIT).

    pip install X3DH==1.3.0 XEdDSA==1.2.0 && python oracle.py
"""
import asyncio, hashlib, json, x3dh, xeddsa
from x3dh import HashFunction, IdentityKeyFormat


ORDER = 2**252 + 27742317777372353535851937790883648493


def random(name, n):
    return hashlib.shake_256(name.encode()).digest(n)


def clamp(key):
    return bytes([key[0] & 248]) + key[1:31] + bytes([key[31] & 127 | 64])


def signatures():
    """`spec`: with the sign of the key forced to 0. `sign_in_top_bit`: as older clients sign."""
    for i in range(16):
        private = clamp(random(f"key {i}", 32))
        message, nonce = random(f"message {i}", i * 7), random(f"nonce {i}", 64)
        sign = xeddsa.priv_to_ed25519_pub(private)[31] >> 7
        # The specification hashes the scalar modulo the group's order; the package does not reduce it.
        scalar = int.from_bytes(xeddsa.priv_force_sign(private, False), "little") % ORDER
        spec = xeddsa.ed25519_priv_sign(scalar.to_bytes(32, "little"), message, nonce)
        other = bytearray(xeddsa.ed25519_priv_sign(private, message, nonce))
        other[63] |= sign << 7
        yield dict(private=private.hex(), public=xeddsa.priv_to_curve25519_pub(private).hex(),
                   message=message.hex(), nonce=nonce.hex(), sign=sign, spec=spec.hex(),
                   sign_in_top_bit=bytes(other).hex())


class State(x3dh.BaseState):
    @staticmethod
    def _encode_public_key(key_format, pub):
        return b"\x05" + pub

    def _publish_bundle(self, bundle):
        pass


async def agreements():
    for i in range(8):
        create = lambda: State.create(IdentityKeyFormat.CURVE_25519, HashFunction.SHA_256, b"WhisperText")
        a, b = create(), create()
        b.generate_pre_keys(1)
        bundle = b.bundle
        if i % 2:
            bundle = x3dh.Bundle(bundle.identity_key, bundle.signed_pre_key, bundle.signed_pre_key_sig, frozenset())
        secret, _, header = await a.get_shared_secret_active(bundle, b"", False)
        one_time = {pair.pub: pair.priv for pair in b._BaseState__pre_keys}
        yield dict(initiator_identity=header.identity_key.hex(), base_key=header.ephemeral_key.hex(),
                   identity_private=b._BaseState__identity_key.as_priv().priv.hex(),
                   signed_private=b._BaseState__signed_pre_key.priv.hex(),
                   signed_public=bundle.signed_pre_key.hex(), identity_public=bundle.identity_key.hex(),
                   signature=bundle.signed_pre_key_sig.hex(),
                   one_time_private=one_time[header.pre_key].hex() if header.pre_key else None,
                   secret=secret.hex())


async def collect():
    return [case async for case in agreements()]


def write(name, about, cases):
    with open(name, "w") as file:
        json.dump({"about": about, "cases": cases}, file, indent=1)
        file.write("\n")


write("xeddsa.json", "Signatures by PyPI XEdDSA 1.2.0, written by oracle.py.", list(signatures()))
write("x3dh_oracle.json", "Agreements by PyPI X3DH 1.3.0, written by oracle.py: the secret is the first "
      "half of our output.", asyncio.run(collect()))
