/** Conditions that pass every check and fail at some payments all the same. */
export const FAILING = {
  failsWithoutDevice: 'payment.deviceId.split("-")[1] == "b"',
  /** Cheap for the parts that a split is taken to give, and far over the budget for 65. */
  slowForManyParts: 'payment.merchantId.split("-").all(a, payment.merchantId.split("-").all(b, a != "x"))',
} as const;
