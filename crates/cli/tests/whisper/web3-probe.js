// Calls every method of npm's `web3-shh` 1.2.11, an independent JSON-RPC client, and checks its results: over HTTP
// and over WebSocket, each with two connected nodes.
//
//   node web3-probe.js MODULES NODE-URL OTHER-WEBSOCKET-URL ENODE-OF-OTHER
const assert = require('node:assert')
const path = require('node:path')

const [, , modules, url, otherUrl, enode] = process.argv
const Shh = require(path.join(modules, 'web3-shh'))

const TOPIC = '0xdeadbeef'
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

async function until(what) {
  for (let tries = 0; tries < 300; tries++) {
    const found = await what()
    if (found) return found
    await wait(100)
  }
  throw new Error('nothing came')
}

async function keys(shh) {
  const pair = await shh.newKeyPair()
  assert.match(pair, /^[0-9a-f]{64}$/)
  assert.strictEqual(await shh.hasKeyPair(pair), true)
  assert.match(await shh.getPublicKey(pair), /^0x04[0-9a-f]{128}$/)
  const secret = await shh.getPrivateKey(pair)
  assert.match(secret, /^0x[0-9a-f]{64}$/)
  const again = await shh.addPrivateKey(secret)
  assert.notStrictEqual(again, pair)
  assert.strictEqual(await shh.getPublicKey(again), await shh.getPublicKey(pair))
  assert.strictEqual(await shh.deleteKeyPair(again), true)
  assert.strictEqual(await shh.hasKeyPair(again), false)
  await assert.rejects(shh.getPublicKey(again), /invalid id/)

  const fresh = await shh.newSymKey()
  assert.strictEqual(await shh.hasSymKey(fresh), true)
  const bytes = await shh.getSymKey(fresh)
  assert.strictEqual(await shh.getSymKey(await shh.addSymKey(bytes)), bytes)
  assert.strictEqual(await shh.deleteSymKey(fresh), true)
  assert.strictEqual(await shh.deleteSymKey(fresh), false)
  await assert.rejects(shh.getSymKey(fresh), /non-existent key ID/)
  return pair
}

async function settings(shh) {
  assert.strictEqual(await shh.getVersion(), '6.0')
  assert.strictEqual(await shh.setMaxMessageSize(1048576), true)
  await assert.rejects(shh.setMaxMessageSize(20971520), /message size too large/)
  assert.strictEqual(await shh.setMinPoW(0.2), true)
  await assert.rejects(shh.setMinPoW(-1), /invalid PoW/)
  const info = await shh.getInfo()
  assert.strictEqual(info.minPow, 0.2)
  assert.strictEqual(info.maxMessageSize, 1048576)
  assert.strictEqual(await shh.markTrustedPeer(enode), true)
  await assert.rejects(shh.markTrustedPeer('enode://x'), /./)
}

async function messages(shh, other, signer) {
  const ours = await shh.generateSymKeyFromPassword('hush')
  const theirs = await other.generateSymKeyFromPassword('hush')
  assert.strictEqual(await shh.getSymKey(ours), await other.getSymKey(theirs))
  const reader = await other.newKeyPair()
  const heard = []
  const subscriptions = [{ symKeyID: theirs, topics: [TOPIC] }, { privateKeyID: reader }]
    .map((criteria) => other.subscribe('messages', criteria))
  for (const subscription of subscriptions) subscription.on('data', (message) => heard.push(message))
  await Promise.all(subscriptions.map((subscription) => until(() => subscription.id)))
  const filter = await shh.newMessageFilter({ symKeyID: ours, topics: [TOPIC], sig: await shh.getPublicKey(signer) })

  const post = { sig: signer, ttl: 50, topic: TOPIC, powTarget: 0.2, powTime: 10 }
  const symmetric = await shh.post({ ...post, symKeyID: ours, payload: '0x77656233' })
  const publicKey = await other.getPublicKey(reader)
  const asymmetric = await shh.post({ ...post, pubKey: publicKey, payload: '0x6161' })
  assert.match(symmetric, /^0x[0-9a-f]{64}$/)

  await until(() => heard.length === 2)
  const [one, two] = [symmetric, asymmetric].map((hash) => heard.find((m) => m.hash === hash))
  assert.strictEqual(one.payload, '0x77656233')
  assert.strictEqual(one.topic, TOPIC)
  assert.strictEqual(one.sig, await shh.getPublicKey(signer))
  assert.strictEqual(one.ttl, 50)
  assert.strictEqual(two.payload, '0x6161')
  assert.strictEqual(two.recipientPublicKey, publicKey)

  const polled = await until(async () => {
    const messages = await shh.getFilterMessages(filter)
    return messages.length > 0 && messages
  })
  assert.deepStrictEqual(polled.map((message) => message.hash), [symmetric])
  assert.deepStrictEqual(await shh.getFilterMessages(filter), [])
  assert.strictEqual(await shh.deleteMessageFilter(filter), true)
  await assert.rejects(shh.getFilterMessages(filter), /filter not found/)
  await assert.rejects(shh.post({ ...post, payload: '0x' }), /specify either a symmetric or an asymmetric key/)
  for (const subscription of subscriptions) {
    await new Promise((resolve, reject) => {
      subscription.unsubscribe((error, done) => (error ? reject(error) : resolve(done)))
    })
  }
}

async function main() {
  const [shh, other] = [new Shh(url), new Shh(otherUrl)]
  await settings(shh)
  await messages(shh, other, await keys(shh))
  console.log('web3-shh understands')
}

main().then(() => process.exit(0), (error) => {
  console.error(error)
  process.exit(1)
})
