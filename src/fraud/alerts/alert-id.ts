/** Owns the alert's id: the same input gives the same id, in every process and after every replay (I6). */
import { createHash } from 'node:crypto';

export interface SourcePlace {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** First 32 hex digits of the sha256 over place and deciding rule, joined by newlines (which no topic or rule id holds). */
export function alertId(place: SourcePlace, decidingRuleId: string): string {
  const text = `${place.topic}\n${place.partition}\n${place.offset}\n${decidingRuleId}`;
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
