-- Takes an account as it is: forgets what of it is gone.
--
-- KEYS: as of redis_erase.lua.
-- ARGV: as of redis_erase.lua.

if redis.call('EXISTS', KEYS[3]) == 0 then
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[5])) do redis.call('DEL', KEYS[5] .. ':' .. name) end
  redis.call('DEL', KEYS[4], KEYS[5])
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], 'shared ' .. ARGV[1])
  return
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[5])) do
  if redis.call('EXISTS', KEYS[5] .. ':' .. name) == 0 then redis.call('SREM', KEYS[5], name) end
end
redis.call('HSET', KEYS[3], 'rows', redis.call('SCARD', KEYS[5]))
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('HDEL', KEYS[3], 'expires') end
