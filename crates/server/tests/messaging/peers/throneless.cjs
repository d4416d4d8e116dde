// A client around npm's @throneless/libsignal-service, for crates/server/tests/messaging/npm_client.rs: it reads one JSON
// request per line and writes one JSON answer per line. It keeps everything in memory until standard input ends.
//
//   node throneless.cjs PATH/TO/node_modules https://localhost:PORT CERTIFICATE.pem
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const readline = require('node:readline');

const [modules, url, certificate] = process.argv.slice(2);

// The package needs a native module that does not build for current versions of Node, which have the same interface.
const originalLoad = Module._load;
Module._load = (request, ...rest) => {
  if (request !== 'node-webcrypto-ossl') return originalLoad(request, ...rest);
  return function WebCrypto() { return crypto.webcrypto; };
};
// The package prints what it does.
console.log = console.info = console.warn = console.error;

process.env.SUPPRESS_NO_CONFIG_WARNING = 'true';
process.env.NODE_CONFIG = JSON.stringify({
  serverUrl: url,
  cdn: { 0: url, 2: url },
  certificateAuthority: fs.readFileSync(certificate, 'utf8'),
});
const signal = require(path.resolve(modules, '@throneless/libsignal-service'));

/// What the package asks of a storage: a table per kind of record, each with an id.
function storage() {
  const methods = { removeAll: async () => tables.forEach((table) => table.clear()) };
  const tables = [];
  const table = () => {
    const created = new Map();
    tables.push(created);
    return created;
  };
  const all = (records) => async () => [...records.values()];
  const put = (records) => async (record) => void records.set(record.id, { ...record });
  const remove = (records) => async (id) => void records.delete(id);
  const plural = { IdentityKey: 'IdentityKeys', Session: 'Sessions', PreKey: 'PreKeys', SignedPreKey: 'SignedPreKeys',
    Configuration: 'Configuration', Group: 'Groups' };
  for (const [one, many] of Object.entries(plural)) {
    const records = table();
    methods[`getAll${many}`] = all(records);
    methods[`createOrUpdate${one}`] = put(records);
    methods[`remove${one}ById`] = remove(records);
    methods[`removeAll${many}`] = async () => records.clear();
    if (one === 'Session') {
      methods.removeSessionsByNumber = async (number) => {
        for (const id of records.keys()) if (id.startsWith(`${number}.`)) records.delete(id);
      };
    }
  }
  const unprocessed = table();
  const update = async (id, values) => {
    if (unprocessed.has(id)) Object.assign(unprocessed.get(id), values);
  };
  return Object.assign(methods, {
    getAllUnprocessed: all(unprocessed),
    getUnprocessedById: async (id) => unprocessed.get(id),
    getUnprocessedCount: async () => unprocessed.size,
    removeAllUnprocessed: async () => unprocessed.clear(),
    removeUnprocessed: remove(unprocessed),
    saveUnprocessed: put(unprocessed),
    updateUnprocessedAttempts: (id, attempts) => update(id, { attempts }),
    updateUnprocessedWithData: update,
  });
}

const store = new signal.ProtocolStore(storage());
let account;
let sender;
let receiver;

/// Messages that were received, and the requests that wait for one.
const received = [];
const waiting = [];

function deliver(message) {
  const wanted = waiting.shift();
  if (wanted) wanted(message);
  else received.push(message);
}

async function read(event) {
  const { message, source, sourceUuid, timestamp } = event.data;
  const files = [];
  for (const pointer of message.attachments ?? []) {
    const file = await receiver.handleAttachment(pointer);
    files.push({ type: file.contentType, content: Buffer.from(file.data).toString('base64') });
  }
  event.confirm();
  deliver({ text: message.body, source, sourceUuid, timestamp: Number(timestamp), files });
}

const operations = {
  async request({ number }) {
    account = new signal.AccountManager(number, signal.KeyHelper.generatePassword(), store);
    await account.requestSMSVerification();
    return {};
  },
  async register({ code }) {
    await account.registerSingleDevice(code);
    return { number: await store.getNumber(), uuid: await store.getUuid() };
  },
  async send({ to, text, file }) {
    const attachments = file ? [await signal.AttachmentHelper.loadFile(file)] : [];
    const connected = await connectedSender();
    const sent = await connected.sendMessageToNumber({ number: to, body: text, attachments });
    return { to: sent.successfulIdentifiers };
  },
  async connect() {
    receiver = new signal.MessageReceiver(store);
    receiver.addEventListener('message', (event) => read(event).catch((error) => deliver({ error: String(error) })));
    receiver.addEventListener('error', (event) => deliver({ error: String(event.error) }));
    await receiver.connect();
    return {};
  },
  receive: () => received.shift() ?? new Promise((resolve) => waiting.push(resolve)),
  async devices() {
    const web = (await connectedSender()).server;
    return { devices: await web.getDevices(), keys: await web.getMyKeys() };
  },
};

async function connectedSender() {
  if (!sender) {
    sender = new signal.MessageSender(store);
    await sender.connect();
  }
  return sender;
}

/// The reason that the package gives, which may be inside of its own error.
function describe(error) {
  const inner = error?.errors?.[0] ?? error;
  return `${inner?.name}: ${inner?.message} ${inner?.code ?? ''} ${inner?.reason ?? ''} ${inner?.stack ?? ''}`;
}

(async () => {
  await store.load();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    const answer = await Promise.resolve(operations[request.operation](request)).catch((error) => ({ error: describe(error) }));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
})();
