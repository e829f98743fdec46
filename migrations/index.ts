/** Owns the order of migrations. A migration that has been released is never changed; a new one is added at the end. */
import { CreateAlerts1763780400000 } from './1763780400000-create-alerts.js';
import { CreateWrites1763856000000 } from './1763856000000-create-writes.js';
import { CreateRules1763856060000 } from './1763856060000-create-rules.js';
import { CreateAlertWork1763856120000 } from './1763856120000-create-alert-work.js';
import { CreateAccess1763856180000 } from './1763856180000-create-access.js';
import { CreateRiskRows1763856240000 } from './1763856240000-create-risk-rows.js';

export const migrations = [
  CreateAlerts1763780400000,
  CreateWrites1763856000000,
  CreateRules1763856060000,
  CreateAlertWork1763856120000,
  CreateAccess1763856180000,
  CreateRiskRows1763856240000,
];
