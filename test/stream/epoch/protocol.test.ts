/** Owns the tests of the epoch protocol: when an epoch closes, and that epochs and offsets join on (I2). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as protocol from '../../../src/stream/epoch/protocol.js';

const limits: protocol.EpochLimits = { promptMs: 20, maxMs: 100, idleMs: 400, maxRecords: 10, maxBytes: 1000 };
const NEVER = Number.POSITIVE_INFINITY;

/** An epoch opened at 1,000 ms after one closed at `lastClosedAtMs`. */
function open(open: Partial<protocol.OpenEpoch>, lastClosedAtMs = 990, inFlight = false): protocol.EpochState {
  const state = protocol.recovered(6, 70);
  if (inFlight) {
    protocol.ensureOpen(state, 900);
    protocol.close(state, 910);
  }
  state.lastClosedAtMs = lastClosedAtMs;
  Object.assign(protocol.ensureOpen(state, 1000), open);
  return state;
}

describe('an epoch closes', () => {
  it.each([
    ['never while none is open', protocol.recovered(1, 1), 1000, NEVER],
    ['never while one is in flight, be it full', open({ records: 99 }, 990, true), 5000, NEVER],
    ['when idle time has passed and nobody waits for it', open({ records: 3 }), 1150, 250],
    ['at its idle time', open({}), 1400, 0],
    ['earlier when an output waits', open({ outputs: 1 }), 1030, 70],
    ['at once when an output waited too long', open({ outputs: 1 }), 1200, 0],
    ['20 ms after the last close when an alert waits', open({ outputs: 1, promptOutputs: 1 }), 1000, 10],
    ['at once when an alert waits and the last close was long ago', open({ promptOutputs: 1 }, 500), 1000, 0],
    ['at once when an alert waits in the first epoch', open({ promptOutputs: 1 }, Number.NEGATIVE_INFINITY), 1000, 0],
    ['at once when it is the first after a recovery', open({ records: 3 }, Number.NEGATIVE_INFINITY), 1000, 0],
    ['for an alert no later than for any output', open({ promptOutputs: 1, outputs: 1 }, 1095), 1090, 10],
    ['at once at its bound of records', open({ records: 10 }), 1000, 0],
    ['not one record before', open({ records: 9 }), 1000, 400],
    ['at once at its bound of bytes', open({ outputBytes: 1000, outputs: 1 }), 1000, 0],
    ['not one byte before', open({ outputBytes: 999, outputs: 1 }), 1000, 100],
  ] as const)('%s', (_, state, nowMs, dueInMs) => {
    expect(protocol.closeDueInMs(state, limits, nowMs)).toBe(dueInMs);
  });

  it('and takes no more once it is at a bound', () => {
    expect(protocol.isFull(open({ records: 10 }), limits)).toBe(true);
    expect(protocol.isFull(open({ outputBytes: 1000 }), limits)).toBe(true);
    expect(protocol.isFull(open({ records: 9, outputBytes: 999 }), limits)).toBe(false);
    expect(protocol.isFull(protocol.recovered(1, 1), limits)).toBe(false);
  });
});

describe('epochs', () => {
  it('are numbered without a gap, and each begins where the one before ended (I2)', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('open', 'extend', 'close', 'commit'), { maxLength: 100, size: 'max' }),
        fc.integer({ min: -1, max: 5 }),
        (steps, last) => {
          const state = protocol.recovered(last, 100);
          const done: protocol.OpenEpoch[] = [];
          let offset = 100;
          for (const step of steps) {
            if (step === 'open') protocol.ensureOpen(state, 0);
            if (step === 'extend' && state.open !== null) protocol.extend(state, ++offset, 1);
            if (step === 'close' && state.open !== null && state.inFlight === null) protocol.close(state, 0);
            if (step === 'commit' && state.inFlight !== null) done.push(protocol.committed(state));
          }
          let [epoch, from] = [last, 100];
          for (const one of done) {
            expect([one.epoch, one.from]).toEqual([epoch + 1, from]);
            [epoch, from] = [one.epoch, one.to];
          }
        },
      ),
    );
  });

  it('refuse what would break the line', () => {
    const state = protocol.recovered(0, 10);
    expect(() => protocol.extend(state, 11, 1)).toThrow('no epoch is open');
    expect(() => protocol.close(state, 0)).toThrow('no epoch is open');
    expect(() => protocol.committed(state)).toThrow('no epoch is in flight');
    protocol.ensureOpen(state, 0);
    expect(() => protocol.extend(state, 9, 1)).toThrow('would go back from offset 10 to 9');
    protocol.close(state, 0);
    protocol.ensureOpen(state, 0);
    expect(() => protocol.close(state, 0)).toThrow('epoch 1 is still in flight');
  });

  it('that failed stop a fenced task, and make one in doubt look at the log', () => {
    expect(protocol.afterFailure('fenced')).toBe('stop');
    expect(protocol.afterFailure('in-doubt')).toBe('recover');
    expect(protocol.afterFailure('fatal')).toBe('fail');
  });
});
