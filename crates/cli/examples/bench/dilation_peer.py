"""A dilated Python wormhole for the benchmark:

dilation_peer.py MAILBOX APPID CODE RELAY|- echo|probe

With a relay, it uses nothing else. `echo` echoes all streams of subprotocol `echo`. `probe` leads, and takes the commands of
crates/wormhole/examples/dilate_probe.rs.
"""
import statistics
import sys
import time

from twisted.internet import defer, protocol, reactor, stdio
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols import basic
from zope.interface import implementer

import wormhole
from wormhole._dilation import manager

MAILBOX, APPID, CODE, RELAY, ROLE = sys.argv[1:]
if ROLE == "probe":
    manager.make_side = lambda: "f" * 16
else:
    manager.make_side = lambda: "0" * 16


def say(text):
    print(text, flush=True)


@implementer(IHalfCloseableProtocol)
class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

    def readConnectionLost(self):
        self.transport.loseWriteConnection()

    def writeConnectionLost(self):
        pass


@implementer(IHalfCloseableProtocol)
class Stream(protocol.Protocol):
    def __init__(self):
        self.data, self.waiting = None, None

    def dataReceived(self, data):
        if self.data is not None:
            self.data += data
        elif self.waiting:
            self.waiting.callback(None)

    def readConnectionLost(self):
        if self.waiting:
            self.waiting.callback(None)

    def writeConnectionLost(self):
        pass

    def wait(self):
        self.waiting = defer.Deferred()
        return self.waiting


class Commands(basic.LineReceiver):
    delimiter = b"\n"

    def __init__(self, api):
        self.api, self.stream = api, None

    def lineReceived(self, line):
        defer.ensureDeferred(self.command(*line.decode().split())).addErrback(fail)

    async def command(self, kind, count="1"):
        if self.stream is None:
            self.stream = await self.connect()
        times = []
        for _ in range(int(count)):
            start = time.perf_counter()
            if kind == "short":
                await self.short()
            else:
                waiting = self.stream.wait()
                self.stream.transport.write(b"x")
                await waiting
            times.append((time.perf_counter() - start) * 1e3)
        say("pong" if kind == "ping" else statistics.median(times))

    def connect(self):
        return self.api.connector_for("echo").connect(protocol.Factory.forProtocol(Stream))

    async def short(self):
        stream = await self.connect()
        stream.data = b""
        waiting = stream.wait()
        stream.transport.write(b"\7" * 100)
        stream.transport.loseWriteConnection()
        await waiting
        assert stream.data == b"\7" * 100


def fail(failure):
    failure.printTraceback()
    say("failed: %s" % failure.value)


async def main():
    w = wormhole.create(APPID, MAILBOX, reactor, dilation=True)
    w.set_code(CODE)
    relay = None if RELAY == "-" else RELAY
    api = w.dilate(transit_relay_location=relay, no_listen=relay is not None)
    if ROLE == "echo":
        await api.listener_for("echo").listen(protocol.Factory.forProtocol(Echo))
    await api.when_dilated()
    if ROLE == "probe":
        stdio.StandardIO(Commands(api))
    say("ready")


reactor.callWhenRunning(lambda: defer.ensureDeferred(main()).addErrback(fail))
reactor.run()
