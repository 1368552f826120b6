/**
 * See the bytes between a real client and a real server, and spoil the network on purpose.
 *
 *     const recording = new Recording();
 *     await using tap = await tapTcp({ port: serverPort, recording });
 *     // … the client connects to tap.port instead of serverPort …
 *     console.log(format(recording.entries));
 */
export type { TcpFaults } from './lane.ts';
export { type FormatOptions, format } from './print.ts';
export { type Entry, type Event, Recording } from './recording.ts';
export { type Tap, type TapOptions, tapTcp } from './tcp.ts';
export { tapUdp, type UdpFaults, type UdpTapOptions } from './udp.ts';
