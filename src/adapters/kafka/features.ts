/** Owns asking a cluster which features it has finalised; one decides how epochs commit. */
import { API } from 'kafka-ts';
import { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import { KafkaError } from './errors.js';
import type { BrokerLinks } from './links.js';
import type { KafkaOptions } from './options.js';

/** Tag of `finalized_features` in ApiVersions answers from version 3 on. */
const FINALISED_TAG = 2;

/** Level by feature name. Empty where the brokers know no features. */
export async function finalisedFeatures(links: BrokerLinks): Promise<ReadonlyMap<string, number>> {
  const { tags } = await links.ask(API.API_VERSIONS, {});
  const bytes = (tags as Readonly<Record<number, Buffer>> | undefined)?.[FINALISED_TAG];
  if (bytes === undefined) return new Map();
  const decoder = new Decoder(bytes);
  const features = decoder.readCompactArray((feature) => {
    const name = feature.readCompactString() ?? '';
    const level = feature.readInt16();
    feature.readInt16();
    feature.readTagBuffer();
    return [name, level] as const;
  });
  return new Map(features);
}

/** The transaction version to speak. Errors: {@link KafkaError} 'kafka-options' for v2 on a cluster without it. */
export async function transactionVersion(links: BrokerLinks, wanted: KafkaOptions['transactions']): Promise<1 | 2> {
  if (wanted === 'v1') return 1;
  const level = (await finalisedFeatures(links)).get('transaction.version') ?? 0;
  if (level >= 2) return 2;
  if (wanted === 'auto') return 1;
  throw new KafkaError(
    'kafka-options',
    `transactions: 'v2' needs transaction.version 2 and this cluster has finalised ${level}; say 'auto', or upgrade it with kafka-features.sh`,
  );
}
