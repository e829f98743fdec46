/** The answer to SyncGroup: an error's is read to its end as well, or the client library takes it for a broken one. */
import { KafkaTSApiError } from 'kafka-ts';
import { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import { Encoder } from 'kafka-ts/dist/utils/encoder.js';
import { describe, expect, it } from 'vitest';
import { SYNC_GROUP } from '../../src/adapters/kafka/wire/group.js';

const REBALANCE_IN_PROGRESS = 27;

describe('the answer to SyncGroup', () => {
  it('keeps its error code, and nothing of it is left unread', () => {
    const bytes = new Encoder()
      .writeInt32(0)
      .writeInt16(REBALANCE_IN_PROGRESS)
      .writeCompactString(null)
      .writeCompactString(null)
      .writeCompactBytes(Buffer.alloc(0))
      .writeTagBuffer()
      .value();
    const decoder = new Decoder(bytes);
    let caught: unknown = null;
    try {
      void SYNC_GROUP.response(decoder);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(KafkaTSApiError);
    expect(caught).toMatchObject({ errorCode: REBALANCE_IN_PROGRESS });
    expect(decoder.canReadBytes(1)).toBe(false);
  });
});
