/**
 * Owns passwords: how they are kept (scrypt, RFC 7914) and compared. A comparison takes some 50 ms and 32 MB on purpose,
 * so few run at once and few wait. Neighbours: `sign-in.ts`, the store of users.
 */
import { type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';
import { SignInBusyError } from './access-errors.js';

/** N = 2^15, r = 8, p = 1: 32 MiB. Source: OWASP, Password Storage Cheat Sheet. */
const LOG_COST = 15;
const BLOCK_SIZE = 8;
const PARALLELISM = 1;
const HASH_BYTES = 32;
const MAX_MEMORY_BYTES = 64 * 1_048_576;
/** Node gives four threads to such work, and the state stores want theirs. */
const AT_ONCE = 2;
const WAITING = 32;

export const PASSWORD_LENGTH = { min: 12, max: 128 } as const;

export class Passwords {
  private running = 0;
  private readonly waiting: (() => void)[] = [];
  /** Compared with where there is no such user, so that the answer takes as long. */
  private readonly nobodys: string;

  /** `logCost` is N's logarithm, for passwords kept from now on. */
  constructor(
    private readonly randomBytes: (size: number) => Buffer,
    private readonly logCost = LOG_COST,
  ) {
    this.nobodys = kept(logCost, randomBytes(16), randomBytes(HASH_BYTES));
  }

  /** What to keep of a password. Errors: {@link SignInBusyError}. */
  async keep(password: string): Promise<string> {
    const salt = this.randomBytes(16);
    return kept(this.logCost, salt, await this.derive(password, salt, this.logCost));
  }

  /** Whether this is the password that was kept; null stands for a user who does not exist. Errors: {@link SignInBusyError}. */
  async matches(password: string, keptText: string | null): Promise<boolean> {
    const [, logCost, salt = '', hash = ''] = (keptText ?? this.nobodys).split('$');
    const derived = await this.derive(password, Buffer.from(salt, 'base64url'), Number(logCost));
    const expected = Buffer.from(hash, 'base64url');
    return expected.length === derived.length && timingSafeEqual(derived, expected) && keptText !== null;
  }

  private async derive(password: string, salt: Buffer, logCost: number): Promise<Buffer> {
    await this.enter();
    try {
      const options: ScryptOptions = { N: 2 ** logCost, r: BLOCK_SIZE, p: PARALLELISM, maxmem: MAX_MEMORY_BYTES };
      return await new Promise((resolve, reject) => {
        // The same letters may come composed or not, by the keyboard.
        scrypt(password.normalize('NFC'), salt, HASH_BYTES, options, (error, key) =>
          error === null ? resolve(key) : reject(error),
        );
      });
    } finally {
      this.leave();
    }
  }

  private async enter(): Promise<void> {
    if (this.running < AT_ONCE) {
      this.running++;
      return;
    }
    if (this.waiting.length >= WAITING) throw new SignInBusyError();
    await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Hands the place on, or gives it back. */
  private leave(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.running--;
    else next();
  }
}

function kept(logCost: number, salt: Buffer, hash: Buffer): string {
  return `scrypt$${logCost}$${salt.toString('base64url')}$${hash.toString('base64url')}`;
}
