/**
 * Owns the mutants: for each a name, what of exactly-once it breaks, and the few characters of one built file that it
 * changes while the file is loaded. No source knows of them. A simulator that lets one live is not looking there.
 * Neighbours: `schedule-worker.ts` loads the core with one of them in place; `main.ts` runs all.
 */

export interface Mutant {
  readonly name: string;
  readonly breaks: string;
  /** Module below `src/stream`, without its ending. */
  readonly module: string;
  /** Occurs once in the module as built. */
  readonly find: string;
  readonly replace: string;
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'fence-does-nothing',
    breaks: 'an owner before can still commit (I4)',
    module: 'testing/simulation/simulated-log',
    find: "if (transaction?.state === 'open') {",
    replace: 'if (task.producerEpoch > 0) return task.producerEpoch;\n        if (transaction?.state === "open") {',
  },
  {
    name: 'aborted-records-are-read',
    breaks: 'readers do not filter by committed transactions',
    module: 'testing/simulation/simulated-partition',
    find: 'if (entry.record !== null && !entry.compacted && this.isCommitted(entry)) records.push(entry.record);',
    replace: 'if (entry.record !== null && !entry.compacted) records.push(entry.record);',
  },
  {
    name: 'outputs-before-the-commit',
    breaks: 'outputs are visible whether their epoch commits or not',
    module: 'testing/simulation/simulated-log',
    find: 'for (const record of records)partition.append(record, task.transaction);',
    replace:
      "for (const record of records)partition.append(record, partition.topic === 'state-log' ? task.transaction : null);",
  },
  {
    name: 'doubt-is-taken-for-committed',
    breaks: 'after a commit in doubt the state log is not asked (I3)',
    module: 'runtime/session',
    find: '(error)=>{\n            this.failure ??= error;\n            this.commit = null;',
    replace:
      "async (error)=>{\n            if (error.code === 'commit-doubtful') { await epochLog.fence(); const { end } = await epochLog.stateLogRange(); return this.onCommitted(epoch, point, { firstStateLogOffset: end, nextStateLogOffset: end }, now); }\n            this.failure ??= error;\n            this.commit = null;",
  },
  {
    name: 'doubtful-commit-is-repeated',
    breaks: 'a commit in doubt is sent again without asking the state log (I3)',
    module: 'runtime/session',
    find: '}).then((receipt)=>this.onCommitted(',
    replace:
      "}).catch(async (error)=>{ if (error.code !== 'commit-doubtful') throw error; await epochLog.fence(); return epochLog.commit({ outputs, stateLog }); }).then((receipt)=>this.onCommitted(",
  },
  {
    name: 'memory-is-kept-after-doubt',
    breaks: 'state of an epoch in doubt stays in memory (I3)',
    module: 'runtime/task',
    find: 'const state = new KeyedState(definition.layout, options.hotKeys, storage.store, (key, due)=>timers.push(key, due));',
    replace:
      'const state = this.keyedState ?? new KeyedState(definition.layout, options.hotKeys, storage.store, (key, due)=>timers.push(key, due));',
  },
  {
    name: 'checksum-is-not-checked',
    breaks: 'a damaged delta is applied',
    module: 'epoch/delta',
    find: 'if (checksumOf(value) !== value.readUInt32LE(CRC_AT)) {',
    replace: 'if (false) {',
  },
  {
    name: 'delta-offset-off-by-one',
    breaks: 'a delta names one source offset too few (I2)',
    module: 'epoch/delta',
    find: 'out.f64(head.to);',
    replace: 'out.f64(Math.max(head.from, head.to - 1));',
  },
  {
    name: 'source-resumes-one-too-far',
    breaks: 'a record behind the last epoch is skipped after recovery (I2)',
    module: 'runtime/task',
    find: 'from: recovered.at.sourceOffset ?? options.startFrom,',
    replace: 'from: recovered.at.sourceOffset === null ? options.startFrom : recovered.at.sourceOffset + 1,',
  },
  {
    name: 'truncation-one-checkpoint-too-far',
    breaks: 'the log forgets what the older checkpoint needs',
    module: 'checkpoint/checkpoints',
    find: 'await this.epochLog.truncateStateLog(resume.stateLogOffset);',
    replace: 'await this.epochLog.truncateStateLog(this.kept[this.kept.length - 1].resume.stateLogOffset);',
  },
  {
    name: 'checkpoint-counts-without-its-pointer',
    breaks: 'a checkpoint counts before its pointer is in the log',
    module: 'checkpoint/checkpoints',
    find: 'if (timedOut) return;\n            this.ready = {',
    replace:
      'if (timedOut) return;\n            this.kept.push({ snapshotId, resume }); if (this.kept.length > this.options.retained) this.kept.shift(); if (this.kept.length === this.options.retained) await this.forgetOlder();\n            this.ready = {',
  },
  {
    name: 'snapshot-of-unwritten-state',
    breaks: 'a checkpoint claims the newest commit instead of what the store holds',
    module: 'runtime/session',
    find: 'this.parts.checkpoints.startIfDue(this.parts.writeBehind.stored);',
    replace: 'this.parts.checkpoints.startIfDue(this.committed);',
  },
  {
    name: 'store-written-before-the-commit',
    breaks: 'the store gets values of an epoch that may never commit (I5)',
    module: 'state/write-behind',
    find: 'if (write === null || this.writing !== null || write.epoch > this.committedEpoch) return;',
    replace:
      'if (write === null || this.writing !== null) return; if (!this.epochs.has(write.resumeEpoch)) write.resumeEpoch = this.stored.epoch;',
  },
  {
    name: 'resume-point-too-new',
    breaks: 'the store claims changes that are still only in memory (I5)',
    module: 'state/write-behind',
    find: 'oldest < 0 ? write.resumeEpoch : Math.min(write.resumeEpoch, this.state.firstDirtyEpoch[oldest] - 1);',
    replace: 'write.resumeEpoch;',
  },
  {
    name: 'writing-goes-on-after-a-failure',
    breaks: 'a later batch passes over one that failed (I5)',
    module: 'state/write-behind',
    find: 'if (this.failure !== null) return;',
    replace: '',
  },
  {
    name: 'dirty-keys-are-evicted',
    breaks: 'a key leaves memory before it is in the store',
    module: 'state/keyed-state',
    find: 'if (this.firstDirtyEpoch[slot] !== CLEAN || this.beingWritten[slot] === 1) continue;',
    replace: 'if (this.firstDirtyEpoch[slot] !== CLEAN) continue;',
  },
  {
    name: 'keys-in-use-are-evicted',
    breaks: 'a key leaves memory while a batch in flight uses its slot',
    module: 'state/keyed-state',
    find: 'if (this.pin[slot] >= this.oldestBatchInUse || this.held[slot] === 1) continue;',
    replace: '',
  },
  {
    name: 'ring-entries-are-left-out',
    breaks: 'a delta lacks the oldest ring entry of its epoch',
    module: 'state/value-codec',
    find: 'const appended = part.ring.total[slot] - marks[slot * count + i] >>> 0;',
    replace: 'const appended = Math.max(0, (part.ring.total[slot] - marks[slot * count + i] >>> 0) - 1);',
  },
  {
    name: 'timers-in-the-store-are-forgotten',
    breaks: 'recovery looks for timers in the deltas alone (I7)',
    module: 'epoch/recovery',
    find: 'opened.onTimer(key.subarray(1), due.readDoubleLE(at));',
    replace: '{}',
  },
  {
    name: 'timers-in-deltas-are-forgotten',
    breaks: 'recovery looks for timers in the store alone (I7)',
    module: 'epoch/replay',
    find: 'if (column.due[slot] > 0) onTimer(state.index.key(slot), column.due[slot]);',
    replace: '',
  },
  {
    name: 'watermark-is-not-restored',
    breaks: 'event time begins anew after recovery (I7)',
    module: 'runtime/task',
    find: 'if (recovered.at.maxEventTimeMs !== null) this.watermark.maxEventTimeMs = recovered.at.maxEventTimeMs;',
    replace: '',
  },
  {
    name: 'broadcast-in-mid-epoch',
    breaks: 'an update takes effect between two records of one epoch',
    module: 'runtime/session',
    find: 'this.runKeyedSteps(batch, epoch);',
    replace: 'this.parts.broadcasts.applyPending(); this.runKeyedSteps(batch, epoch);',
  },
  {
    name: 'take-up-is-not-told',
    breaks: 'an update takes effect without a record of where',
    module: 'runtime/session',
    find: 'state.took?.(this, opened.from);',
    replace: '{}',
  },
  {
    name: 'stale-store-is-trusted',
    breaks: 'a local store older than the log is used as it is',
    module: 'epoch/recovery',
    find: 'if (start.stateLogOffset === null || start.stateLogOffset < range.start) {',
    replace: 'if (start.stateLogOffset === null) {',
  },
  {
    name: 'out-of-range-reads-go-on',
    breaks: 'reading goes on at the first offset that is left (I8)',
    module: 'testing/simulation/simulated-partition',
    find: 'if (from < this.start || from > this.end) throw new NotInLogError(from, this);',
    replace: 'if (from < this.start) from = this.start;',
  },
  {
    name: 'slots-stay-in-use-after-recovery',
    breaks: 'what recovery applied last holds its slots, and timers that are due find none',
    module: 'epoch/replay',
    find: 'this.parts.opened.state.releaseBatchesBefore(null);',
    replace: '',
  },
  {
    name: 'a-shortened-log-ends-recovery',
    breaks: 'a truncation that falls into a recovery ends the process',
    module: 'epoch/recovery',
    find: 'if (!mayBeForThat || tries === MAX_TRIES) throw error;',
    replace: 'throw error;',
  },
  {
    name: 'doubtful-outputs-are-kept',
    breaks: 'outputs of a lost session are committed by the next',
    module: 'runtime/session',
    find: 'const { outputs } = this;\n        this.outputs = [];',
    replace:
      'const outputs = this.outputs.concat(this.parts.signal.leftOver ?? []); this.parts.signal.leftOver = outputs;\n        this.outputs = [];',
  },
  {
    name: 'seal-is-not-checked',
    breaks: 'a task of a generation that is over goes on behind its seal',
    module: 'epoch/recovery',
    find: 'if (replay.seal !== null) throw generationOver(parts.taskId, replay.seal);',
    replace: '',
  },
  {
    name: 'seal-without-a-fence',
    breaks: 'an epoch of the owner before comes to lie behind the seal (S1)',
    module: 'checkpoint/seal',
    find: 'await epochLog.fence(); // S1',
    replace:
      'if (epochLog.producerEpoch === null) epochLog.producerEpoch = epochLog.log.task(epochLog.place.ownerId).producerEpoch; // S1',
  },
  {
    name: 'seed-leaves-a-key-out',
    breaks: 'a key whose task changed is lost',
    module: 'checkpoint/seed-stores',
    find: 'if (store === undefined) return;',
    replace: 'if (store === undefined || (to !== from && store.keys % 5 === 4)) return;',
  },
  {
    name: 'seed-has-a-key-twice',
    breaks: 'a key stays with the task that it has left',
    module: 'checkpoint/seed-stores',
    find: 'await store.add(key, Buffer.from(this.scratch.written()), encodePendingTimers(reader.codec, 0));',
    replace:
      'await store.add(key, Buffer.from(this.scratch.written()), encodePendingTimers(reader.codec, 0)); if (to !== from) await this.stores.get(from)?.add(key, Buffer.from(this.scratch.written()), null);',
  },
  {
    name: 'seed-forgets-timers',
    breaks: 'timers that are pending in a savepoint never fire (I7)',
    module: 'checkpoint/seed-stores',
    find: 'encodePendingTimers(reader.codec, 0));',
    replace: 'null);',
  },
  {
    name: 'seed-keeps-places',
    breaks: 'values name offsets of a source that they have left',
    module: 'checkpoint/seed-stores',
    find: 'if (isElsewhere)',
    replace: 'if (false)',
  },
  {
    name: 'seed-without-its-checkpoint',
    breaks: 'a seed is committed whose checkpoint is not there (G1)',
    module: 'checkpoint/seed',
    find: 'await store.putSnapshot(snapshotId, resume);',
    replace: '',
  },
  {
    name: 'savepoint-is-cut-short',
    breaks: 'a savepoint lacks what is in the newest epoch of the state log',
    module: 'checkpoint/task-image',
    find: 'await replay.writeAll();\n        await readUpTo(',
    replace: 'await readUpTo(',
  },
  {
    name: 'savepoint-of-two-epochs',
    breaks: 'a savepoint has values of a checkpoint that are ahead of the epochs that can be read',
    module: 'checkpoint/task-image',
    find: 'await readUpTo(await newestEpoch(storage.store), replay, end, parts);',
    replace: '',
  },
  {
    name: 'savepoint-reads-undecided-epochs',
    breaks: 'a savepoint has what may never be committed (I1)',
    module: 'testing/simulation/simulated-epoch-log',
    find: 'this.place.stateLog.fetch(at,',
    replace:
      '(this.producerEpoch !== null ? this.place.stateLog : Object.create(this.place.stateLog, { isCommitted: { value: ()=>true }, stableEnd: { get() { return this.end; } } })).fetch(at,',
  },
  {
    name: 'standby-claims-too-much',
    breaks: 'a standby stores a resume point ahead of its values (I5)',
    module: 'epoch/replay',
    find: 'opened.writeBehind.committed(this.at, clock.monotonic());',
    replace:
      'opened.writeBehind.committed({ ...this.at, epoch: this.at.epoch + (opened.onTimer.length === 0 ? 1 : 0) }, clock.monotonic());',
  },
  {
    name: 'standby-passes-over-epochs',
    breaks: "a standby goes on at the log's end, whatever lies between",
    module: 'runtime/standby-task',
    find: 'this.reached(await replay.readOn(epochLog, this.position, ()=>this.stopRequested));',
    replace:
      'const { end } = await epochLog.stateLogRange(); await replay.readOn(epochLog, Math.min(end, this.position + 1), ()=>this.stopRequested); this.reached(end);',
  },
  {
    name: 'truncation-with-a-checkpoint-too-few',
    breaks: "the log forgets what a seed's checkpoint needs before there are others enough",
    module: 'checkpoint/checkpoints',
    find: 'if (this.kept.length < this.options.retained) return;',
    replace: 'if (this.kept.length < this.options.retained - 1) return;',
  },
  {
    name: 'opened-again-though-whole',
    breaks: 'a generation is taken back that may run already',
    module: 'testing/simulation/rescale-job',
    find: 'if (await this.isWhole(next))',
    replace: 'if (false)',
  },
  {
    name: 'half-a-generation-runs',
    breaks: 'a generation starts before all of its tasks are seeded',
    module: 'checkpoint/generations',
    find: 'seeded.length === next.partitions',
    replace: 'seeded.length > 0',
  },
  {
    name: 'added-partitions-go-unnoticed',
    breaks: 'records are processed by a task that has not their keys',
    module: 'runtime/source-keys',
    find: 'if (wrong > 0) return this.judge(records);',
    replace: '',
  },
  {
    name: 'ends-behind-the-first-misplaced',
    breaks: 'a task ends one record too late where partitions were added (SK2)',
    module: 'runtime/source-keys',
    find: 'cut(records, added);',
    replace: 'cut(records, Math.min(records.count - 1, added + 1));',
  },
];

/** The module's text with the mutant in place. Errors: names the mutant whose place is not there, or there twice. */
export function mutate(text: string, { name, module, find, replace }: Mutant): string {
  const places = text.split(find).length - 1;
  if (places === 1) return text.replace(find, () => replace);
  throw new Error(`mutant ${name}: its place occurs ${places} times in ${module}; adapt scripts/simulate/mutants.ts`);
}
