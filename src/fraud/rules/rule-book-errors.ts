/** Owns what the rule book refuses, each with a stable code and what to do. Neighbours: `rule-book.ts` throws these. */
import { StreamError } from '../../stream/errors.js';

export class RuleNotFoundError extends StreamError {
  constructor(id: string) {
    super('rule-not-found', `No rule has the id '${id.slice(0, 64)}'. GET /v1/rules lists them all.`);
  }
}

export class VersionNotFoundError extends StreamError {
  /** `what`: as `Rule high-score` or `The pattern parameters`. */
  constructor(what: string, version: number, newest: number) {
    super('rule-version-not-found', `${what}: there is no version ${version}, the newest is ${newest}.`);
  }
}

export class RuleSetNotFoundError extends StreamError {
  constructor(version: number) {
    super('rule-set-not-found', `There was never a rule set of version ${version}. GET /v1/rule-sets lists them all.`);
  }
}

export class RuleExistsError extends StreamError {
  constructor(id: string) {
    super(
      'rule-exists',
      `A rule '${id}' exists already. Take another id, or change that rule with PUT /v1/rules/${id}.`,
    );
  }
}

/** There is nothing to pause. */
export class RuleNotRunningError extends StreamError {
  constructor(id: string) {
    super(
      'rule-not-running',
      `Rule '${id}' is a draft that never ran, so it cannot be paused. Activate a version of it first.`,
    );
  }
}

/** Decisions hang on it, so it stays. */
export class RuleHasRunError extends StreamError {
  constructor(id: string) {
    super(
      'rule-has-run',
      `Rule '${id}' has run, so decisions hang on it and it stays in the book. Pause it if it is no longer wanted; a rule no version of which ever ran can be removed.`,
    );
  }
}

/** An author must not bring the own version live. */
export class FourEyesError extends StreamError {
  constructor(what: string) {
    super(
      'four-eyes',
      `${what} is the work of you or of an API key of yours: somebody else with rules:approve must bring it live. (rules.fourEyes=false lets authors do it themselves.)`,
    );
  }
}

export class RuleSetFullError extends StreamError {
  constructor(most: number) {
    super(
      'rule-set-full',
      `${most} rules run already, which is the most. Pause one that is no longer needed, then repeat this.`,
    );
  }
}

export class RuleSetTooLargeError extends StreamError {
  constructor(bytes: number, most: number) {
    super(
      'rule-set-too-large',
      `The rule set would be a record of ${bytes} bytes, and ${most} is the most. Shorten lists and conditions of running rules, or pause some.`,
    );
  }
}

export class RuleBookFullError extends StreamError {
  constructor(most: number) {
    super(
      'rule-book-full',
      `The book holds ${most} rules, which is the most. Remove drafts that are no longer needed (DELETE /v1/rules/{id}), or change another rule into the new one.`,
    );
  }
}

/** Nothing has been seeded: only while the first process that serves the API starts. */
export class RuleBookEmptyError extends StreamError {
  constructor() {
    super(
      'rule-book-empty',
      'No rule set has been made yet: a process that serves the API seeds one as it starts. Try again in a moment.',
    );
  }
}
