/** Owns the errors of models that are refused when they are loaded. */
import { StreamError } from '../../stream/errors.js';

/** The model was trained on other features than this build computes. The message lists the differences. */
export class ModelMismatchError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('model-mismatch', message, options);
  }
}

/** A model's file is missing, unreadable, not the one its metadata describes, or does not score as it did in training. */
export class ModelCorruptError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('model-corrupt', message, options);
  }
}
