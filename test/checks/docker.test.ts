/** What docker/ describes fits the project: files that exist, settings that are known, services that name each other. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfiguration } from '../../src/app/configuration/index.js';

const root = resolve(import.meta.dirname, '../..');
const dockerfile = readFileSync(join(root, 'docker/Dockerfile'), 'utf8');

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly entrypoint?: readonly string[];
  readonly environment: Readonly<Record<string, string | number>>;
  readonly volumes?: readonly string[];
  readonly healthcheck?: object;
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}
const compose = parse(readFileSync(join(root, 'docker/compose.yaml'), 'utf8')) as {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
};

describe('the Dockerfile', () => {
  it('copies only what is there', () => {
    const sources = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap((match) => match[1].split(' '));
    expect(sources.length).toBeGreaterThan(5);
    for (const source of sources) expect(existsSync(join(root, source)), source).toBe(true);
  });

  it('copies every folder that the build reads', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { build: string } };
    const folders = /^swc (.*?) -d /.exec(scripts.build)?.[1].split(' ') ?? [];
    expect(folders).toContain('src');
    for (const folder of folders) expect(dockerfile).toMatch(new RegExp(`^COPY ${folder} `, 'm'));
  });

  it('runs as nobody special, with a healthcheck, on the Node that the project is pinned to', () => {
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toMatch(/^HEALTHCHECK /m);
    const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: { node: string };
    };
    for (const [, major] of dockerfile.matchAll(/^FROM node:(\d+)/gm))
      expect(dependencies.node.split('.')[0]).toBe(major);
  });
});

describe('docker/compose.yaml', () => {
  it('gives the detector settings that it accepts', () => {
    const detector = compose.services.detector.environment;
    const env = Object.fromEntries(
      Object.entries(detector).map(([name, value]) => [name, String(value).replace(/\$\{\w+:-(\w+)\}/g, '$1')]),
    );
    const configuration = loadConfiguration({ argv: [], env, cwd: '/app', readFile: () => undefined });
    expect(configuration.backend).toBe('kafka');
    expect(configuration.demo.enabled).toBe(true);
    const [host] = configuration.kafka.brokers[0].split(':');
    const others = [configuration.merchantRisk.url, configuration.postgres.url].map(
      (url) => new URL(url ?? '').hostname,
    );
    for (const name of [host, ...others]) expect(Object.keys(compose.services)).toContain(name);
  });

  it('pins images, checks health, and waits for whom it depends on', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      expect(service.image, name).toMatch(/^(fraud-detector|[\w/]+:[\d.]+)$/);
      if (service.build === undefined || service.entrypoint !== undefined)
        expect(service.healthcheck, name).toBeDefined();
      for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
        expect(compose.services[other], other).toBeDefined();
        expect(condition).toBe('service_healthy');
      }
      for (const volume of service.volumes ?? []) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
    }
  });

  it('starts programs that are built from sources that exist', () => {
    for (const { entrypoint = [] } of Object.values(compose.services)) {
      for (const word of entrypoint.filter((part) => part.startsWith('dist/'))) {
        expect(existsSync(join(root, word.replace(/^dist\//, '').replace(/\.js$/, '.ts'))), word).toBe(true);
      }
    }
  });
});
