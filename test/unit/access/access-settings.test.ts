/** What the settings of access demand of each other, and that the preset key is never shown. */
import { describe, expect, it } from 'vitest';
import { describeOrigins, loadConfiguration } from '../../../src/app/configuration/index.js';

const KEY = 'a-key-of-enough-characters';
const load = (argv: readonly string[], env: Record<string, string> = {}) =>
  loadConfiguration({ argv, env, cwd: '/srv', readFile: (path) => (path === '/srv/key' ? `${KEY}\n` : undefined) });
const refusal = (argv: readonly string[], env?: Record<string, string>): string => {
  try {
    load(argv, env);
    return 'accepted';
  } catch (error) {
    return (error as Error).message;
  }
};
const OIDC = ['--access-oidc-issuer', 'https://id.example/realm', '--access-oidc-audience', 'fraud'];

describe('settings of access', () => {
  it('keep users here on the embedded backend and in the demo, unless an issuer has them', () => {
    expect(load([]).access.local.enabled).toBe(true);
    expect(load(['--kafka', 'a:1']).access.local.enabled).toBe(false);
    expect(load(['--kafka', 'a:1', '--demo']).access.local.enabled).toBe(true);
    expect(load(OIDC).access.local.enabled).toBe(false);
  });

  it('want an issuer whole, over https, and alone', () => {
    expect(refusal(OIDC.slice(0, 2))).toContain('Needs access.oidc.audience');
    expect(refusal(['--access-oidc-issuer', 'http://id.example', ...OIDC.slice(2)])).toContain('Must be an https');
    expect(refusal(['--access-oidc-issuer', 'http://127.0.0.1:9/realm', ...OIDC.slice(2)])).toBe('accepted');
    expect(refusal(['--access-oidc-issuer', 'http://localhost.evil.example', ...OIDC.slice(2)])).toContain('https');
    expect(refusal([...OIDC, '--access-local-enabled'])).toContain('Is not possible beside access.oidc.issuer');
    expect(refusal([...OIDC, '--access-oidc-role-mapping', 'team=boss'])).toContain('one of our roles');
  });

  it('take the preset key from FRAUD_API_KEY or a file, and show it to nobody', () => {
    const given = load([], { FRAUD_API_KEY: KEY });
    expect(given.access.apiKey).toBe(KEY);
    expect(describeOrigins(given).join()).not.toContain(KEY);
    expect(load(['--access-api-key-file', 'key']).access.apiKey).toBe(KEY);
    const short = refusal([], { FRAUD_API_KEY: 'secret-and-short' });
    expect(short).toContain('24 to 256 visible characters');
    expect(short).not.toContain('secret-and-short');
  });
});
