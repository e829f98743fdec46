/** Owns the order of migrations. A migration that has been released is never changed; a new one is added at the end. */
import { CreateAlerts1763780400000 } from './1763780400000-create-alerts.js';
import { CreateWrites1763856000000 } from './1763856000000-create-writes.js';

export const migrations = [CreateAlerts1763780400000, CreateWrites1763856000000];
