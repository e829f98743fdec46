/** Owns the tests of late settings: threads get them whenever they come, and end where they never do. */
import { afterEach, describe, expect, it } from 'vitest';
import { LateSettings, lateSettings } from '../../../src/stream/runtime/late-settings.js';

const late: LateSettings<string>[] = [];
afterEach(() => {
  for (const one of late.splice(0)) one.close();
});

function make(onWaiting?: () => void): LateSettings<string> {
  const made = new LateSettings<string>(onWaiting);
  late.push(made);
  return made;
}

describe('late settings', () => {
  it('reach a thread that waits for them, and one that comes after they were given', async () => {
    let waiting = 0;
    const settings = make(() => waiting++);
    const early = lateSettings<string>(settings.door());
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([waiting, settings.isGiven]).toEqual([1, false]);
    settings.give('here');
    expect(await early).toBe('here');
    expect(await lateSettings(settings.door())).toBe('here'); // a thread started again
  });

  it('are null for whoever waits when the process stops, and for whoever comes later', async () => {
    const settings = make();
    const waiting = lateSettings(settings.door());
    const onItsWay = settings.door();
    settings.close();
    expect(await waiting).toBeNull();
    expect(await lateSettings(onItsWay)).toBeNull();
    expect(await lateSettings(settings.door())).toBeNull();
  });
});
