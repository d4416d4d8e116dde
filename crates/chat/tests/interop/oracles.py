"""A peer around the PyPI packages X3DH and XEdDSA, for crates/chat/tests/oracles.rs: it reads one JSON request per line and
writes one JSON answer per line. Byte strings are base64. The ratchet and the cipher come from PyCA cryptography."""

import asyncio
import base64
import json
import sys

import x3dh
import xeddsa
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class State(x3dh.BaseState):
    @staticmethod
    def _encode_public_key(key_format, pub):
        return b"\x05" + pub

    def _publish_bundle(self, bundle):
        pass


state = State.create(x3dh.IdentityKeyFormat.CURVE_25519, x3dh.HashFunction.SHA_256, b"WhisperText")
state.generate_pre_keys(1)


def decode(text):
    return base64.b64decode(text)


def encode(octets):
    return base64.b64encode(octets).decode()


def derive(salt, secret, info, length):
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def authenticate(key, *parts):
    mac = hmac.HMAC(key, hashes.SHA256())
    for part in parts:
        mac.update(part)
    return mac.finalize()


def fields(octets):
    """The fields of a protobuf message: numbers and byte strings."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            octet = octets[at]
            at += 1
            value |= (octet & 127) << shift
            shift += 7
            if octet < 128:
                return value

    while at < len(octets):
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = octets[at : at + value], at + value
        found[tag >> 3] = value
    return found


def verify(request):
    signature = bytearray(decode(request["signature"]))
    sign = bool(signature[63] >> 7)
    signature[63] &= 127
    key = xeddsa.curve25519_pub_to_ed25519_pub(decode(request["key"])[1:], sign)
    return {"holds": xeddsa.ed25519_verify(bytes(signature), key, decode(request["message"]))}


def sign(request):
    private = xeddsa.priv_force_sign(decode(request["private"]), False)
    return {"signature": encode(xeddsa.ed25519_priv_sign(private, decode(request["message"])))}


def bundle(request):
    keys = state.bundle
    public = lambda key: encode(b"\x05" + key)
    return {
        "identity": public(keys.identity_key),
        "signed": public(keys.signed_pre_key),
        "signature": encode(keys.signed_pre_key_sig),
        "oneTime": public(next(iter(keys.pre_keys))) if request["withOneTime"] else None,
    }


def receive(request):
    """Decrypts the first message of a session."""
    outer = fields(decode(request["message"])[1:])
    inner = outer[4]
    signal = fields(inner[1:-8])
    keys = state.bundle
    one_time = next(iter(keys.pre_keys)) if 1 in outer else None
    header = x3dh.Header(outer[3][1:], outer[2][1:], keys.signed_pre_key, one_time)
    root, _, pair = asyncio.run(state.get_shared_secret_passive(header, b"", False))
    chain = derive(root, xeddsa.x25519(pair.priv, signal[1][1:]), b"WhisperRatchet", 64)[32:]
    for _ in range(signal[2]):
        chain = authenticate(chain, b"\x02")
    derived = derive(None, authenticate(chain, b"\x01"), b"WhisperMessageKeys", 80)
    sender, receiver = outer[3], b"\x05" + keys.identity_key
    mac = authenticate(derived[32:64], sender, receiver, inner[:-8])[:8]
    if mac != inner[-8:]:
        raise ValueError("bad MAC")
    decryptor = Cipher(algorithms.AES(derived[:32]), modes.CBC(derived[64:])).decryptor()
    padded = decryptor.update(signal[4]) + decryptor.finalize()
    return {"plaintext": encode(padded[: -padded[-1]])}


OPERATIONS = {"verify": verify, "sign": sign, "bundle": bundle, "receive": receive}

for line in sys.stdin:
    try:
        request = json.loads(line)
        answer = OPERATIONS[request["operation"]](request)
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
