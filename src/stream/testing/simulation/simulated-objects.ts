/**
 * Owns the store of savepoints as simulated processes reach it: the in-memory one of the test kit, with everything that
 * can befall a process on the way. Whether a put that failed took effect is not known to whoever sent it.
 */
import type { ObjectStore } from '../../ports.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

/** Share of failing puts and deletes that took effect all the same, among those that fail for no other reason. */
const FAILS_AFTERWARDS = 0.01;

export function simulatedObjects({ objects, random, faults }: World, process: SimulatedProcess): ObjectStore {
  const orUnknown = async (act: Promise<void>) => {
    await act;
    if (faults.active && random.chance(FAILS_AFTERWARDS)) throw new Error('object-put: the disk gave an error');
  };
  const noFiles = async () => {
    throw new Error('savepoints are put as bytes');
  };
  return {
    place: objects.place,
    put: (name, bytes) => process.work('object-put', () => orUnknown(objects.put(name, bytes))),
    putFile: noFiles,
    get: (name) => process.work('object-get', () => objects.get(name)),
    getFile: noFiles,
    sizeOf: (name) => process.work('object-get', () => objects.sizeOf(name)),
    list: (prefix) => process.work('object-list', () => objects.list(prefix)),
    delete: (names) => process.work('object-delete', () => orUnknown(objects.delete(names))),
  };
}
