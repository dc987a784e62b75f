-- Deletes an account in one atomic step, with all that is stored of it.
--
-- KEYS: the accounts of its kind by evidence (sorted set); the ledger's id and numbers (hash); the account's version,
--       writer and totals (hash), tokens (sorted set) and names of rows (set). Rows are lists beside the names, in the
--       same hash slot.
-- ARGV: 1 the account's name; 2 its kind.
-- Returns whether there was such an account.

for _, name in ipairs(redis.call('SMEMBERS', KEYS[5])) do redis.call('DEL', KEYS[5] .. ':' .. name) end
local ranked = redis.call('ZREM', KEYS[1], ARGV[1])
if ranked > 0 and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then redis.call('HINCRBY', KEYS[2], ARGV[2], -ranked) end
if redis.call('DEL', KEYS[3], KEYS[4], KEYS[5]) == 0 then return false end
redis.call('HINCRBY', KEYS[2], 'erased', 1)
return true
