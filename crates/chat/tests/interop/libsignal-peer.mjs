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
sessions.getExistingSessions = async (addresses) => Promise.all(addresses.map((address) => sessions.getSession(address)));

const oneTime = store(signal.PreKeyStore, signal.PreKeyRecord, 'savePreKey', 'getPreKey');
const signed = store(signal.SignedPreKeyStore, signal.SignedPreKeyRecord, 'saveSignedPreKey', 'getSignedPreKey');
const kyber = store(signal.KyberPreKeyStore, signal.KyberPreKeyRecord, 'saveKyberPreKey', 'getKyberPreKey');

// Sender keys and sealed sender, which old versions do not have.
const groups = new Map();
const senderKeys = signal.SenderKeyStore && new (class extends signal.SenderKeyStore {})();
if (senderKeys) {
  senderKeys.saveSenderKey = async (sender, id, record) => void groups.set(`${name(sender)} ${id}`, record.serialize());
  senderKeys.getSenderKey = async (sender, id) => {
    const stored = groups.get(`${name(sender)} ${id}`);
    return stored ? signal.SenderKeyRecord.deserialize(stored) : null;
  };
}
const us = signal.ProtocolAddress.new(process.argv[3], 1);

const peer = (request) => signal.ProtocolAddress.new(request.peer, 1);
// New versions also want to know our own address.
const own = signal.signalDecrypt.length >= 5 ? [us] : [];
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

  /// The sender key of this peer with a distribution id.
  async distribute({ distribution }) {
    return { key: text((await signal.SenderKeyDistributionMessage.create(us, distribution, senderKeys)).serialize()) };
  },

  /// Takes the sender key of another peer.
  async acceptKey(request) {
    const key = signal.SenderKeyDistributionMessage.deserialize(bytes(request.key));
    await signal.processSenderKeyDistributionMessage(peer(request), key, senderKeys);
    return {};
  },

  async encryptToGroup({ distribution, plaintext }) {
    return { message: text((await signal.groupEncrypt(us, distribution, senderKeys, bytes(plaintext))).serialize()) };
  },

  async decryptFromGroup(request) {
    return { plaintext: text(await signal.groupDecrypt(peer(request), senderKeys, bytes(request.message))) };
  },

  /// Issues a certificate for a sender, with new keys for the server and the trust root.
  async certify({ account, device, identity, expires }) {
    const [root, server] = [signal.PrivateKey.generate(), signal.PrivateKey.generate()];
    const signer = signal.ServerCertificate.new(7, server.getPublicKey(), root);
    const key = signal.PublicKey.deserialize(bytes(identity));
    const certificate = signal.SenderCertificate.new(account, null, device, key, expires, signer, server);
    return { root: text(root.getPublicKey().serialize()), certificate: text(certificate.serialize()) };
  },

  async identity() {
    return { identity: text(identity.getPublicKey().serialize()) };
  },

  /// Encrypts a message with the session, and seals it with version 1.
  async seal(request) {
    const certificate = signal.SenderCertificate.deserialize(bytes(request.certificate));
    const sealed = await signal.sealedSenderEncryptMessage(
      bytes(request.plaintext), peer(request), certificate, sessions, identities);
    return { message: text(sealed) };
  },

  /// Encrypts a message to a group, and seals it with version 2 for one peer or for several.
  async sealForMany(request) {
    const certificate = signal.SenderCertificate.deserialize(bytes(request.certificate));
    const message = await signal.groupEncrypt(us, request.distribution, senderKeys, bytes(request.plaintext));
    const content = signal.UnidentifiedSenderMessageContent.new(message, certificate, 1, Buffer.from('group'));
    const recipients = (request.peers ?? [request.peer]).map((account) => signal.ProtocolAddress.new(account, 1));
    return { message: text(await signal.sealedSenderMultiRecipientEncrypt(content, recipients, identities, sessions)) };
  },

  /// Opens a sealed message, and decrypts it with the session.
  async unseal({ message, root, now }) {
    const opened = await signal.sealedSenderDecryptMessage(
      bytes(message), signal.PublicKey.deserialize(bytes(root)), now, null, us.name(), us.deviceId(),
      sessions, identities, oneTime, signed, kyber);
    return { plaintext: text(opened.message()), account: opened.senderUuid(), device: opened.deviceId() };
  },

  /// Opens a sealed message to a group.
  async unsealFromGroup({ message, root, now }) {
    const content = await signal.sealedSenderDecryptToUsmc(bytes(message), identities);
    const certificate = content.senderCertificate();
    if (!certificate.validate(signal.PublicKey.deserialize(bytes(root)), now)) throw new Error('bad certificate');
    const sender = signal.ProtocolAddress.new(certificate.senderUuid(), certificate.senderDeviceId());
    const plaintext = await signal.groupDecrypt(sender, senderKeys, content.contents());
    return { plaintext: text(plaintext), account: sender.name(), hint: content.contentHint(), group: text(content.groupId()) };
  },

  /// Asks to send a message again, as unencrypted content.
  async askAgain({ message, first, timestamp, device }) {
    const type = first ? signal.CiphertextMessageType.PreKey : signal.CiphertextMessageType.Whisper;
    const error = signal.DecryptionErrorMessage.forOriginal(bytes(message), type, timestamp, device);
    return { content: text(signal.PlaintextContent.from(error).serialize()) };
  },

  /// Reads such a request, and whether it is about the current session with a peer.
  async readRequest(request) {
    const content = signal.PlaintextContent.deserialize(bytes(request.content));
    const error = signal.DecryptionErrorMessage.extractFromSerializedBody(content.body());
    const record = await sessions.getSession(peer(request));
    const key = error.ratchetKey();
    const isCurrent = key ? record.currentRatchetKeyMatches(key) : false;
    return { timestamp: error.timestamp(), device: error.deviceId(), isCurrent };
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
