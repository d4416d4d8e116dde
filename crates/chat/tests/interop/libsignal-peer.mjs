// A peer around npm's @signalapp/libsignal-client, for crates/chat/tests/interop.rs: it reads one JSON request per
// line and writes one JSON answer per line. Byte strings are base64. It keeps everything in memory until standard input ends.
//
//   node libsignal-peer.mjs PATH/TO/node_modules ACCOUNT
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const modules = path.resolve(process.argv[2]);
const entry = createRequire(path.join(modules, 'x.cjs')).resolve('@signalapp/libsignal-client');
const imported = await import(pathToFileURL(entry).href);
const signal = imported.default?.PrivateKey ? imported.default : imported;

const bytes = (text) => Buffer.from(text, 'base64');
const text = (buffer) => Buffer.from(buffer).toString('base64');
const name = (address) => `${address.name()}.${address.deviceId()}`;

/// A store of `kind` with the methods `save` and `load`.
function store(kind, record, save, load) {
  if (!kind) return undefined;
  const kept = new Map();
  const made = new (class extends kind {})();
  made[save] = async (id, value) => void kept.set(id, value.serialize());
  made[load] = async (id) => {
    if (!kept.has(id)) throw new Error(`no key ${id}`);
    return record.deserialize(kept.get(id));
  };
  made.removePreKey = async (id) => void kept.delete(id);
  made.markKyberPreKeyUsed = async () => {};
  return made;
}

const identity = signal.PrivateKey.generate();
const trusted = new Map();
const identities = new (class extends signal.IdentityKeyStore {})();
identities.getIdentityKey = async () => identity;
identities.getLocalRegistrationId = async () => 4242;
identities.saveIdentity = async (address, key) => {
  trusted.set(name(address), key);
  return signal.IdentityChange ? signal.IdentityChange.NewOrUnchanged : false;
};
identities.isTrustedIdentity = async () => true;
identities.getIdentity = async (address) => trusted.get(name(address)) ?? null;

const sessions = new (class extends signal.SessionStore {})();
const records = new Map();
sessions.saveSession = async (address, record) => void records.set(name(address), record.serialize());
sessions.getSession = async (address) => {
  const stored = records.get(name(address));
  return stored ? signal.SessionRecord.deserialize(stored) : null;
};

const oneTime = store(signal.PreKeyStore, signal.PreKeyRecord, 'savePreKey', 'getPreKey');
const signed = store(signal.SignedPreKeyStore, signal.SignedPreKeyRecord, 'saveSignedPreKey', 'getSignedPreKey');
const kyber = store(signal.KyberPreKeyStore, signal.KyberPreKeyRecord, 'saveKyberPreKey', 'getKyberPreKey');

const peer = (request) => signal.ProtocolAddress.new(request.peer, 1);
// New versions also want to know our own address.
const own = signal.signalDecrypt.length >= 5 ? [signal.ProtocolAddress.new(process.argv[3], 1)] : [];
let nextId = 1;

const operations = {
  /// The prekey bundle of this peer, as a server would return it.
  async bundle({ withOneTime, withKem }) {
    const id = nextId++;
    const key = signal.PrivateKey.generate();
    const signature = identity.sign(key.getPublicKey().serialize());
    await signed.saveSignedPreKey(id, signal.SignedPreKeyRecord.new(id, Date.now(), key.getPublicKey(), key, signature));
    const bundle = {
      registrationId: 4242,
      identity: text(identity.getPublicKey().serialize()),
      signed: { id, key: text(key.getPublicKey().serialize()), signature: text(signature) },
    };
    if (withOneTime) {
      const once = signal.PrivateKey.generate();
      await oneTime.savePreKey(id, signal.PreKeyRecord.new(id, once.getPublicKey(), once));
      bundle.oneTime = { id, key: text(once.getPublicKey().serialize()) };
    }
    if (withKem) {
      const pair = signal.KEMKeyPair.generate();
      const signature = identity.sign(pair.getPublicKey().serialize());
      await kyber.saveKyberPreKey(id, signal.KyberPreKeyRecord.new(id, Date.now(), pair, signature));
      bundle.kem = { id, key: text(pair.getPublicKey().serialize()), signature: text(signature) };
    }
    return bundle;
  },

  /// Starts a session with the bundle of another peer.
  async begin(request) {
    const key = (value) => signal.PublicKey.deserialize(bytes(value));
    const { registrationId, signed, oneTime, kem } = request.bundle;
    const values = [
      registrationId, 1, oneTime?.id ?? null, oneTime ? key(oneTime.key) : null,
      signed.id, key(signed.key), bytes(signed.signature), key(request.bundle.identity),
    ];
    if (kem) values.push(kem.id, signal.KEMPublicKey.deserialize(bytes(kem.key)), bytes(kem.signature));
    await signal.processPreKeyBundle(signal.PreKeyBundle.new(...values), peer(request), ...own, sessions, identities);
    return {};
  },

  async encrypt(request) {
    const sent = await signal.signalEncrypt(bytes(request.plaintext), peer(request), ...own, sessions, identities);
    return { first: sent.type() === signal.CiphertextMessageType.PreKey, message: text(sent.serialize()) };
  },

  async decrypt(request) {
    const message = bytes(request.message);
    const stores = [oneTime, signed, kyber].filter((store) => store);
    const plaintext = request.first
      ? await signal.signalDecryptPreKey(
          signal.PreKeySignalMessage.deserialize(message), peer(request), ...own, sessions, identities, ...stores)
      : await signal.signalDecrypt(signal.SignalMessage.deserialize(message), peer(request), ...own, sessions, identities);
    return { plaintext: text(plaintext) };
  },

  async verify({ key, message, signature }) {
    return { holds: signal.PublicKey.deserialize(bytes(key)).verify(bytes(message), bytes(signature)) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const request = JSON.parse(line);
    answer = await operations[request.operation](request);
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
