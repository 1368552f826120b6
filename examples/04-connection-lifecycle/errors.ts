/**
 * The atlas as data: what each error means and what to do about it, in English and in Chinese.
 * provoke.ts makes them happen, error-atlas.ts prints both, and the READMEs' tables come from here.
 */

export const LANGUAGES = ['en', 'zh'] as const;
export type Language = (typeof LANGUAGES)[number];

export interface Text {
  /** How provoke.ts makes it happen. */
  how: string;
  /** What has happened when you see it. */
  means: string;
  /** What to do about it. */
  cure: string;
}

/** By the error's `code`; an AggregateError has that of its first error, and goes by its name. */
export const ERRORS = {
  ECONNREFUSED: {
    en: {
      how: 'connect to a port on which nobody listens',
      means: 'the machine is there and answered SYN with RST: nobody listens',
      cure: 'start the server, check host and port, or try again a little later',
    },
    zh: {
      how: '连接一个没有程序监听的端口',
      means: '机器在，但端口没人监听：SYN 换来了 RST',
      cure: '先启动服务器，核对地址和端口，或稍后再试',
    },
  },
  ECONNRESET: {
    en: {
      how: 'the server resets the connection instead of answering',
      means: 'the peer tore the connection down (RST); what was under way is lost',
      cure: 'connect anew; repeat only what may safely be done twice',
    },
    zh: {
      how: '服务器不回答，直接重置连接',
      means: '对方用 RST 拆掉了连接，在途的数据全部丢失',
      cure: '重新连接；只重发做两遍也无妨的请求',
    },
  },
  EPIPE: {
    en: {
      how: 'write to a peer that has closed, and again after its RST',
      means: 'you wrote to a connection that the peer had closed before',
      cure: "stop writing when the peer is gone; listen to 'end' and 'close'",
    },
    zh: {
      how: '对方已关闭还往里写，收到 RST 之后再写一次',
      means: '对方早已关闭连接，你还在往里写',
      cure: '留意 end 和 close 事件，对方走了就别再写',
    },
  },
  ETIMEDOUT: {
    en: {
      how: 'connect to a server whose queue is full, so that SYN gets no answer',
      means: 'no answer to SYN: a host that is off, a firewall, or a full queue',
      cure: 'check address and firewall; set a connect timeout of your own',
    },
    zh: {
      how: '连接一个队列已满的服务器，SYN 得不到任何回应',
      means: 'SYN 石沉大海：主机关机、防火墙拦截，或对方队列已满',
      cure: '检查地址和防火墙；自己设置连接超时',
    },
  },
  EADDRINUSE: {
    en: {
      how: 'listen twice on one port',
      means: 'the port is taken, or in TIME_WAIT after a server without SO_REUSEADDR',
      cure: 'stop the program that has it, or choose another port',
    },
    zh: {
      how: '在同一个端口上监听两次',
      means: '端口被占用，或上一个没设 SO_REUSEADDR 的服务器留下了 TIME_WAIT',
      cure: '停掉占用端口的程序，或换一个端口',
    },
  },
  EADDRNOTAVAIL: {
    en: {
      how: 'listen on an address of some other machine, 203.0.113.1',
      means: 'this machine has no such address',
      cure: 'use 127.0.0.1, 0.0.0.0 or one that os.networkInterfaces() lists',
    },
    zh: {
      how: '监听一个不属于本机的地址 203.0.113.1',
      means: '本机没有这个地址',
      cure: '用 127.0.0.1、0.0.0.0，或 os.networkInterfaces() 列出的地址',
    },
  },
  EACCES: {
    en: {
      how: 'send a UDP broadcast without setBroadcast(true)',
      means: 'not permitted: a broadcast, or a port below 1024',
      cure: 'call setBroadcast(true), or choose a port from 1024',
    },
    zh: {
      how: '没调用 setBroadcast(true) 就发 UDP 广播',
      means: '没有权限：发广播，或用 1024 以下的端口',
      cure: '调用 setBroadcast(true)，或改用 1024 及以上的端口',
    },
  },
  ENOTFOUND: {
    en: {
      how: 'look up a name with nothing between two dots, which cannot exist',
      means: 'there is no such name (EAI_AGAIN: no DNS server to ask)',
      cure: 'check the spelling; on EAI_AGAIN check the network',
    },
    zh: {
      how: '查询一个两点之间为空的域名，这样的名字不可能存在',
      means: '没有这个域名（EAI_AGAIN 则是问不到 DNS 服务器）',
      cure: '检查拼写；若是 EAI_AGAIN，检查网络',
    },
  },
  EMSGSIZE: {
    en: {
      how: 'send a UDP datagram of 65,508 bytes',
      means: 'the datagram is too big: 65,507 bytes are the most on IPv4',
      cure: 'send less (up to 1,200 bytes pass everywhere), or use TCP',
    },
    zh: {
      how: '发送一个 65,508 字节的 UDP 数据报',
      means: '数据报太大：IPv4 上最多 65,507 字节',
      cure: '发小一点（1,200 字节以内到处都能通过），或改用 TCP',
    },
  },
  ERR_STREAM_WRITE_AFTER_END: {
    en: {
      how: 'call write() after end()',
      means: 'a bug of our own: end() had promised that nothing follows',
      cure: 'call end() last, and look at socket.writable in late callbacks',
    },
    zh: {
      how: '调用 end() 之后又调用 write()',
      means: '自己的 bug：end() 已经声明后面没有数据了',
      cure: '把 end() 放到最后；迟到的回调里先看 socket.writable',
    },
  },
  AggregateError: {
    en: {
      how: 'connect to a name with two addresses, both of which refuse',
      means: 'Node tried every address of the name (happy eyeballs), and all failed',
      cure: 'look into error.errors: there is one error for each address',
    },
    zh: {
      how: '连接一个有两个地址的名字，两个都拒绝',
      means: 'Node 把这个名字的每个地址都试了（happy eyeballs），全部失败',
      cure: '看 error.errors：每个地址各有一个错误',
    },
  },
} satisfies Record<string, Record<Language, Text>>;

export type Code = keyof typeof ERRORS;
export const CODES = Object.keys(ERRORS) as Code[];
