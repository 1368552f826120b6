/** What `npm start 04` plays: the life of a connection, and one way in which it can fail. */
import { program } from '@shared/program';
import { page } from './error-atlas.ts';
import { provoke } from './provoke.ts';
import { report } from './states.ts';

program(import.meta, {
  about: "Shows the kernel's states of one connection, and a page of the error atlas.",
  options: {},
  async run(_, { signal }) {
    console.log('One connection, and what the kernel says about both of its ends');
    for await (const line of report({ signal })) console.log(line);
    console.log('\nA page of the error atlas');
    console.log(page('EPIPE', await provoke('EPIPE', { signal })));
  },
});
