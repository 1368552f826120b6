/** What `npm start 09` plays: which hook is called when, and three clients of whom one is nice. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { explain, program } from '@shared/program';
import { format, Recording, tapTcp } from '@shared/wiretap';
import { type Address, StreamRequestHandler, TCPServer } from './socketserver.ts';

const recording = new Recording();
const note = (text: string) => recording.note('server', text);
const steps = new EventTarget();
const step = (name: string) => once(steps, name);
const done = (name: string) => steps.dispatchEvent(new Event(name));

class DemoHandler extends StreamRequestHandler {
  override setup() {
    note('setup()');
    super.setup();
    done('setup');
  }
  override async handle() {
    const line = await this.rfile.readline();
    note(`handle() has read ${JSON.stringify(line.toString())}`);
    if (line.toString() === 'crash\n') throw new Error('told to crash');
    await this.wfile.write(line.toString().toUpperCase());
  }
  override finish() {
    super.finish();
    note('finish()');
  }
}

class DemoServer extends TCPServer {
  override handleError(_request: Socket, _clientAddress: Address, error: unknown) {
    note(`handleError(): ${explain(error) ?? (error as Error).message}`);
  }
  override closeRequest(request: Socket) {
    super.closeRequest(request);
    note('closeRequest()');
    done('closed');
  }
}

program(import.meta, {
  about: 'Plays three clients, of whom one makes its handler throw, and one vanishes.',
  options: {},
  async run() {
    await using server = new DemoServer(['127.0.0.1', 0], DemoHandler);
    await server.activated;
    const serving = server.serveForever();
    const client = (connection: number) => ['Ben', 'Cem', 'Ann'][connection - 1] ?? '';
    await using tap = await tapTcp({ port: server.serverAddress[1], recording, client });

    for (const talk of [
      (socket: Socket) => socket.write('crash\n'),
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => socket.write('hello\n'),
    ]) {
      const [ready, closed] = [step('setup'), step('closed')];
      const socket = connect({ port: tap.port, host: '127.0.0.1' }).resume();
      await ready;
      talk(socket);
      await closed;
    }
    await server.shutdown();
    await serving;
    console.log(format(recording.entries));
  },
});
