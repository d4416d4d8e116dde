// Measures npm's @signalapp/libsignal-client, for scripts/bench. Prints one JSON object: microseconds for each operation, the
// median of 9 runs. Calls from JavaScript cost more than the same calls from Rust.
//
//   node libsignal_speed.mjs PATH/TO/node_modules
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import path from 'node:path';

const modules = path.resolve(process.argv[2]);
const entry = createRequire(path.join(modules, 'x.cjs')).resolve('@signalapp/libsignal-client');
const imported = await import(pathToFileURL(entry).href);
const signal = imported.default?.PrivateKey ? imported.default : imported;

/// A store in memory that keeps objects, so that it costs as little as possible.
function store(kind, save, load) {
  const kept = new Map();
  const made = new (class extends kind {})();
  made[save] = async (id, value) => void kept.set(id, value);
  made[load] = async (id) => kept.get(id);
  made.removePreKey = async () => {};
  made.markKyberPreKeyUsed = async () => {};
  return made;
}

/// A device with one prekey of each kind.
async function device(name) {
  const identity = signal.PrivateKey.generate();
  const records = new Map();
  const it = {
    address: signal.ProtocolAddress.new(name, 1),
    records,
    sessions: new (class extends signal.SessionStore {})(),
    identities: new (class extends signal.IdentityKeyStore {})(),
    oneTime: store(signal.PreKeyStore, 'savePreKey', 'getPreKey'),
    signed: store(signal.SignedPreKeyStore, 'saveSignedPreKey', 'getSignedPreKey'),
    kyber: store(signal.KyberPreKeyStore, 'saveKyberPreKey', 'getKyberPreKey'),
  };
  it.sessions.saveSession = async (address, record) => void records.set(address.name(), record);
  it.sessions.getSession = async (address) => records.get(address.name()) ?? null;
  it.identities.getIdentityKey = async () => identity;
  it.identities.getLocalRegistrationId = async () => 1;
  it.identities.saveIdentity = async () => signal.IdentityChange?.NewOrUnchanged ?? false;
  it.identities.isTrustedIdentity = async () => true;
  it.identities.getIdentity = async () => null;
  const [signedKey, once, pair] = [signal.PrivateKey.generate(), signal.PrivateKey.generate(), signal.KEMKeyPair.generate()];
  const signature = identity.sign(signedKey.getPublicKey().serialize());
  const kemSignature = identity.sign(pair.getPublicKey().serialize());
  await it.signed.saveSignedPreKey(1, signal.SignedPreKeyRecord.new(1, Date.now(), signedKey.getPublicKey(), signedKey, signature));
  await it.oneTime.savePreKey(1, signal.PreKeyRecord.new(1, once.getPublicKey(), once));
  await it.kyber.saveKyberPreKey(1, signal.KyberPreKeyRecord.new(1, Date.now(), pair, kemSignature));
  it.bundle = (kem) => {
    const values = [1, 1, 1, once.getPublicKey(), 1, signedKey.getPublicKey(), signature, identity.getPublicKey()];
    if (kem) values.push(1, pair.getPublicKey(), kemSignature);
    return signal.PreKeyBundle.new(...values);
  };
  return it;
}

const plaintext = Buffer.alloc(256, 7);
// Since 0.90 or so, each call takes our own address, too, and every session has the post-quantum ratchet.
const hasRatchet = signal.signalEncrypt.length > 4;
const addresses = (us, them) => (hasRatchet ? [them.address, us.address] : [them.address]);
const begin = (us, them, kem) => signal.processPreKeyBundle(them.bundle(kem), ...addresses(us, them), us.sessions, us.identities);
const encrypt = async (us, them) => {
  const sent = await signal.signalEncrypt(plaintext, ...addresses(us, them), us.sessions, us.identities);
  return { first: sent.type() === signal.CiphertextMessageType.PreKey, bytes: sent.serialize() };
};
const decrypt = (us, them, sent) =>
  sent.first
    ? signal.signalDecryptPreKey(signal.PreKeySignalMessage.deserialize(sent.bytes), ...addresses(us, them),
        us.sessions, us.identities, us.oneTime, us.signed, us.kyber)
    : signal.signalDecrypt(signal.SignalMessage.deserialize(sent.bytes), ...addresses(us, them), us.sessions, us.identities);

const figures = {};
async function measure(name, count, run) {
  const times = [];
  for (let i = 0; i < 9; i++) {
    const start = process.hrtime.bigint();
    for (let j = 0; j < count; j++) await run(i * count + j);
    times.push(Number(process.hrtime.bigint() - start) / 1000 / count);
  }
  times.sort((a, b) => a - b);
  figures[name] = Math.round(times[4] * 100) / 100;
}

for (const kem of hasRatchet ? [true] : [false, true]) {
  const name = kem ? 'pqxdh' : 'x3dh';
  const [alice, bob] = [await device('alice'), await device('bob')];
  await measure(`${name}_begin`, 50, async () => {
    alice.records.clear();
    await begin(alice, bob, kem);
    await encrypt(alice, bob);
  });
  const sent = await encrypt(alice, bob);
  await measure(`${name}_receive`, 50, async () => {
    bob.records.clear();
    await decrypt(bob, alice, sent);
  });
  if (kem && !hasRatchet) continue;
  await decrypt(alice, bob, await encrypt(bob, alice));
  const messages = [];
  await measure('encrypt', 500, async () => void messages.push(await encrypt(alice, bob)));
  await measure('decrypt', 500, async (i) => void (await decrypt(bob, alice, messages[i])));
  // 87 round trips: the average over two epochs of the post-quantum ratchet.
  await measure('dh_step', hasRatchet ? 87 : 50, async () => {
    await decrypt(bob, alice, await encrypt(alice, bob));
    await decrypt(alice, bob, await encrypt(bob, alice));
  });
  figures.dh_step = Math.round(figures.dh_step * 50) / 100;
}
console.log(JSON.stringify(figures));
