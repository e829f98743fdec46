/** The configuration as the rest of the application sees it. */

export { type FlagKind, readCommandLine } from './flags.js';
export { configurationPage, describeOrigins, helpText, wrap } from './help.js';
export {
  askedFor,
  type Configuration,
  type ConfigurationInputs,
  loadConfiguration,
  SETTINGS,
  settingFlagKinds,
} from './load.js';
export { ConfigurationError, type ConfigurationProblem, didYouMean } from './problems.js';
export { parseS3Place } from './s3-settings.js';
export type { Role } from './schema.js';
