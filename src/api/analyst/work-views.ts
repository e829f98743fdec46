/** Owns the forms of work on alerts over HTTP. Neighbours: `alert-work.controller.ts`, docs/ANALYST-API.md. */
import { z } from 'zod';
import { DISPOSITIONS, REASON_CODES } from '../../fraud/labels/disposition.js';
import { lines } from '../validation.js';
import { actorId } from './alert-views.js';

const NOTE_LIMIT = 4_000;

const note = lines(NOTE_LIMIT).regex(/\S/, 'must not be blank').meta({ description: 'Plain text' });
const optionalNote = z.exactOptional(note);

/** An empty body is fine: the one who asks takes the alert. */
export const assignSchema = z
  .strictObject({
    assignee: z
      .exactOptional(actorId.regex(/^(?!(me|none)$)/, 'leave it out for yourself, or send null for nobody').nullable())
      .meta({ description: "An actor's id, null for nobody; left out: who asks" }),
  })
  .default({});
export type AssignBody = z.infer<typeof assignSchema>;

export const noteSchema = z.strictObject({ text: note });
export type NoteBody = z.infer<typeof noteSchema>;

const [fraud, legitimate, inconclusive] = DISPOSITIONS;
export const dispositionSchema = z.discriminatedUnion('disposition', [
  z.strictObject({ disposition: z.literal(fraud), reasonCode: z.enum(REASON_CODES.fraud), note: optionalNote }),
  z.strictObject({
    disposition: z.literal(legitimate),
    reasonCode: z.enum(REASON_CODES.legitimate),
    note: optionalNote,
  }),
  z.strictObject({
    disposition: z.literal(inconclusive),
    reasonCode: z.enum(REASON_CODES.inconclusive),
    note: optionalNote,
  }),
]);
export type DispositionBody = z.infer<typeof dispositionSchema>;

export const reopenSchema = z.strictObject({ note: optionalNote }).default({});
export type ReopenBody = z.infer<typeof reopenSchema>;
