/**
 * Owns the nemeses that strike the connections between services and brokers: cut, aimed cuts, delays and holes.
 * Neighbours: `catalogue.ts` lists them, `../proxy.ts` does it.
 */
import type { AimedCut, AimedRequest, Arena, Nemesis, ProxyControl } from './nemesis.js';
import { endedBy, over, pauseBetween } from './strike.js';

const proxied = ({ proxy }: Arena) => (proxy === null ? 'no proxy stands before the brokers' : null);
const readable = (arena: Arena) =>
  proxied(arena) ?? (arena.proxy?.seesRequests === true ? null : 'TLS hides the requests');
/** Requests that come all the time come within this, ms. */
const AIM_MS = 20_000;

/** All connections are cut, some times in a row. */
export const cut: Nemesis = {
  name: 'cut',
  impossible: proxied,
  async strike(arena, random) {
    const proxy = proxyOf(arena);
    const times = random.whole(1, 5);
    let connections = 0;
    for (let time = 0; time < times; time++) {
      connections += proxy.cutAll();
      await pauseBetween(random, 0, 250);
    }
    return over(`${connections} connections cut, in ${times} rounds`);
  },
};

/** Every connection is cut in the middle of an answer. */
export const cutInAnswer: Nemesis = {
  name: 'cut-in-answer',
  impossible: proxied,
  async strike(arena) {
    const connections = await proxyOf(arena).cutInAnswer(3_000);
    return over(`${connections} connections cut in the middle of an answer`);
  },
};

/** A commit's last request is lost: the epoch is not committed, and the service must not believe it is. */
export const cutCommitRequest = aimed('cut-commit-request', 'EndTxn', 'request');
/** The commit is done and its answer lost: the service must not do it twice. */
export const cutCommitAnswer = aimed('cut-commit-answer', 'EndTxn', 'answer');
/** Half of that answer arrives. */
export const cutCommitHalfAnswer = aimed('cut-commit-half-answer', 'EndTxn', 'half answer');
/** The commit's request arrives when the service has given its connection up and has asked again on another. */
export const lateCommit = aimed('late-commit', 'EndTxn', 'late request');
/** An epoch's records are lost, or written and not known to be. */
export const cutProduceRequest = aimed('cut-produce-request', 'Produce', 'request');
export const cutProduceAnswer = aimed('cut-produce-answer', 'Produce', 'answer');
/** Records reach the broker after their connection is gone. */
export const lateProduce = aimed('late-produce', 'Produce', 'late request');
/** The group's coordinator does not hear from a member, or the member not from it. */
export const cutHeartbeat = aimed('cut-heartbeat', 'Heartbeat', 'answer');

/** The fence of a service that starts again loses its answer: the producer id is taken, and nobody knows which. */
export const cutFence: Nemesis = {
  name: 'cut-fence',
  impossible: readable,
  async strike(arena, random) {
    const service = random.pick(arena.services);
    await service.kill();
    const falling = proxyOf(arena).aim('InitProducerId', 'answer', { withinMs: AIM_MS, times: random.whole(1, 2) });
    service.start();
    return over(`${service.name} killed and started, ${fallen(await falling, 'InitProducerId')} cut at its answer`);
  },
};

/** Bytes take 50 to 500 ms more each way. */
export const delay: Nemesis = {
  name: 'delay',
  impossible: proxied,
  async strike(arena, random) {
    const proxy = proxyOf(arena);
    const [toBrokerMs, toClientMs] = [random.whole(50, 500), random.whole(50, 500)];
    proxy.delay({ toBrokerMs, toClientMs });
    const ms = await pauseBetween(random, 2_000, 4_000);
    const what = `bytes delayed by ${toBrokerMs} and ${toClientMs} ms for ${ms} ms and more`;
    const heal = endedBy(async () => proxy.delay({ toBrokerMs: 0, toClientMs: 0 }));
    return { what, goesOn: true, mayEnd: false, heal };
  },
};

/** Nothing passes for 3 s, and no connection closes. */
export const blackHole: Nemesis = {
  name: 'black-hole',
  impossible: proxied,
  async strike(arena, random) {
    const proxy = proxyOf(arena);
    proxy.blackHole(true);
    const ms = await pauseBetween(random, 3_000, 3_500);
    const heal = endedBy(async () => proxy.blackHole(false));
    return { what: `nothing passed for ${ms} ms`, goesOn: false, mayEnd: false, heal };
  },
};

function aimed(name: string, request: AimedRequest, at: AimedCut): Nemesis {
  return {
    name,
    impossible: readable,
    async strike(arena, random) {
      const times = random.whole(1, 3);
      const cuts = await proxyOf(arena).aim(request, at, { withinMs: AIM_MS, times });
      return over(`${fallen(cuts, request)} cut: ${at}`);
    },
  };
}

/** A strike that hit nothing proves nothing. */
function fallen(cuts: number, request: AimedRequest): string {
  if (cuts === 0) throw new Error(`no ${request} came within ${AIM_MS} ms: nothing could be cut`);
  return `${cuts} ${request}`;
}

function proxyOf({ proxy }: Arena): ProxyControl {
  if (proxy === null) throw new Error('no proxy stands before the brokers');
  return proxy;
}
