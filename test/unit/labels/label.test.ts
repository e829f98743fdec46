import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ALL_REASON_CODES, DISPOSITIONS, REASON_CODES } from '../../../src/fraud/labels/disposition.js';
import { labelId, labelJsonSchema } from '../../../src/fraud/labels/label.js';

const schemaFile = fileURLToPath(new URL('../../../schemas/label.schema.json', import.meta.url));

describe('a label', () => {
  it('has the schema that is committed', async () => {
    // `vitest run test/unit/labels -u` writes the file anew.
    await expect(`${JSON.stringify(labelJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(schemaFile);
  });

  it('has an id that follows from alert and revision alone', () => {
    const alert = 'a'.repeat(32);
    expect(labelId(alert, 2)).toBe('b5422675d716682b1c76fbb0ec27dedb');
    expect(labelId(alert, 3)).not.toBe(labelId(alert, 2));
    expect(labelId('b'.repeat(32), 2)).not.toBe(labelId(alert, 2));
  });

  it('has a reason that belongs to one disposition alone', () => {
    expect(new Set(ALL_REASON_CODES).size).toBe(ALL_REASON_CODES.length);
    expect(DISPOSITIONS.flatMap((one) => [...REASON_CODES[one]])).toEqual([...ALL_REASON_CODES]);
  });
});
