// A Whisper peer that uses an independent implementation of RLPx, npm's `@ethereumjs/devp2p`. It prints received
// packets as JSON, one object per line, and sends the packets that it reads from standard input: CODE HEX. It is not a
// node: it neither forwards nor checks messages.
//
//   node shh-peer.mjs MODULES listen
//   node shh-peer.mjs MODULES dial HOST PORT NODE-ID
import crypto from 'node:crypto'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const [, , modules, mode, host, port, id] = process.argv
const load = (name) => import(pathToFileURL(path.join(modules, name)).href)
const { RLPx } = await load('@ethereumjs/devp2p/dist/esm/index.js')
// The package does not export this class, but its own subprotocols use it.
const { Protocol } = await load('@ethereumjs/devp2p/dist/esm/protocol/protocol.js')
const snappy = (await load('snappyjs/index.js')).default

const say = (event) => console.log(JSON.stringify(event))
// Status of a full node without a minimum PoW: version 6, PoW 0, no bloom filter, not light.
const STATUS = Buffer.from('c406808080', 'hex')
let open = null

class Shh extends Protocol {
  constructor(version, peer, send) {
    super(peer, send, 'shh', version, { 0: 'STATUS', 1: 'MESSAGES', 2: 'POW', 3: 'BLOOM' })
    clearTimeout(this._statusTimeoutId)
  }
  write(code, body) {
    this._send(code, Buffer.from(snappy.compress(body)))
  }
  _handleMessage(code, body) {
    say({ event: 'message', code, body: Buffer.from(body).toString('hex') })
  }
  sendStatus() {}
}

const rlpx = new RLPx(crypto.randomBytes(32), {
  capabilities: [{ name: 'shh', version: 6, length: 128, constructor: Shh }],
  clientId: Buffer.from('shh-peer'),
  listenPort: null,
  maxPeers: 1,
  timeout: 10000,
})
rlpx.events.on('error', (error) => say({ event: 'error', message: String(error) }))
rlpx.events.on('peer:error', (_, error) => say({ event: 'error', message: String(error) }))
rlpx.events.on('peer:removed', (_, reason, ours) => say({ event: 'closed', reason, ours }))
rlpx.events.on('peer:added', (peer) => {
  const hello = peer.getHelloMessage()
  open = peer.getProtocols()[0]
  open.write(0, STATUS)
  say({ event: 'opened', client: hello.clientId, id: Buffer.from(peer.getId()).toString('hex') })
})

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [code, body] = line.split(' ')
  open.write(Number(code), Buffer.from(body, 'hex'))
}).on('close', () => process.exit(0))

const own = Buffer.from(rlpx.id).toString('hex')
if (mode === 'listen') {
  rlpx._server.once('listening', () => {
    say({ event: 'listening', port: rlpx._server.address().port, id: own })
  })
  rlpx.listen(0, '127.0.0.1')
} else {
  const to = { id: Buffer.from(id, 'hex'), address: host, tcpPort: Number(port), udpPort: 0 }
  rlpx.connect(to).catch((error) => say({ event: 'error', message: String(error) }))
}
