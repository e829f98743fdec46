/**
 * Owns tokens that this service signs itself (ES256), for installations without an identity provider. Neighbours:
 * `src/fraud/access/sign-in.ts` asks for them, `local-tokens.ts` takes them; the key comes from the data directory.
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { CredentialsRefusedError } from '../../fraud/access/authenticator.js';
import type { TokenReader } from '../../fraud/access/local-tokens.js';
import type { IssuedToken, TokenIssuer } from '../../fraud/access/sign-in.js';
import type { StoredUser } from '../../fraud/access/user.js';
import type { Clock } from '../../stream/ports.js';
import { tokenRefusal } from './token-errors.js';

const ISSUER = 'urn:fraud-detection:issuer:local';
const AUDIENCE = 'urn:fraud-detection:api';
const ALGORITHM = 'ES256';

export interface LocalIssuerOptions {
  /** A private key of the curve P-256, PKCS #8 as PEM. */
  readonly privateKeyPem: string;
  readonly tokenMs: number;
  readonly clock: Pick<Clock, 'now'>;
}

export class LocalIssuer implements TokenIssuer, TokenReader {
  private readonly privateKey: KeyObject;
  private readonly publicKey: KeyObject;

  constructor(private readonly options: LocalIssuerOptions) {
    this.privateKey = createPrivateKey(options.privateKeyPem);
    this.publicKey = createPublicKey(this.privateKey);
  }

  async issue({ username, generation }: Pick<StoredUser, 'username' | 'generation'>): Promise<IssuedToken> {
    const { clock, tokenMs } = this.options;
    const nowS = Math.floor(clock.now() / 1_000);
    const token = await new SignJWT({ generation })
      .setProtectedHeader({ alg: ALGORITHM, typ: 'at+jwt' })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(username)
      .setIssuedAt(nowS)
      .setNotBefore(nowS)
      .setExpirationTime(nowS + Math.floor(tokenMs / 1_000))
      .setJti(randomUUID())
      .sign(this.privateKey);
    return { token, expiresInMs: tokenMs };
  }

  async read(token: string): Promise<{ username: string; generation: number }> {
    try {
      const { payload } = await jwtVerify(token, this.publicKey, {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
        typ: 'at+jwt',
        requiredClaims: ['sub', 'exp', 'nbf'],
        currentDate: new Date(this.options.clock.now()),
      });
      const { sub, generation } = payload;
      if (typeof sub === 'string' && typeof generation === 'number') return { username: sub, generation };
    } catch (error) {
      throw tokenRefusal(error);
    }
    throw new CredentialsRefusedError('credentials-invalid', 'The token is not accepted.');
  }
}
