/** The object store in memory keeps the contract. */
import { memoryObjects } from '../../src/stream/testing/memory-objects.js';
import { describeObjectStore } from './object-store.contract.js';

describeObjectStore('memory', async () => memoryObjects());
