import supertest from 'supertest';
import { describe, expect, it } from 'vitest';
import { createApi } from '../../src/api/api.js';
import { StreamError } from '../../src/stream/errors.js';
import { BARE_PARTS } from '../support/bare-parts.js';
import { HandClock } from '../unit/hand-clock.js';

describe('what the log hears of', () => {
  const hear = async (error: StreamError, times: (http: ReturnType<typeof supertest.agent>) => Promise<void>) => {
    const heard: { readonly code: unknown; readonly leftOut: number | undefined }[] = [];
    const status = () => {
      throw error;
    };
    const failing = await createApi({
      ...BARE_PARTS,
      pipeline: { status },
      clock,
      onUnexpected: (cause, { leftOut }) =>
        heard.push({ code: cause instanceof StreamError ? cause.code : null, leftOut }),
    });
    try {
      await times(supertest.agent(failing.app.getHttpServer()).set('authorization', 'Bearer admin'));
    } finally {
      await failing.close();
    }
    return heard;
  };
  const clock = new HandClock();
  const ask = async (http: ReturnType<typeof supertest.agent>, times: number) => {
    for (let i = 0; i < times; i++) expect((await http.get('/v1/pipeline')).status).toBe(503);
  };

  it.each(['database-unavailable', 'issuer-unavailable', 'model-unavailable', 'rule-book-empty'])(
    'is one %s at most every five seconds, with the number of those in between',
    async (code) => {
      const heard = await hear(new StreamError(code, 'away'), async (http) => {
        await ask(http, 8);
        clock.advance(4_999);
        await ask(http, 1);
        clock.advance(1);
        await ask(http, 2);
        clock.advance(5_000);
        await ask(http, 1);
      });
      expect(heard).toEqual([undefined, 8, 1].map((leftOut) => ({ code, leftOut })));
    },
  );

  it.each(['trial-busy', 'too-many-streams', 'too-many-exports', 'sign-in-busy', 'not-ready'])(
    'is never a %s, which a caller can bring about at will',
    async (code) => {
      expect(await hear(new StreamError(code, 'too many'), (http) => ask(http, 3))).toEqual([]);
    },
  );
});
