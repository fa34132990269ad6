-- Compare-and-set of a value key by the head of what it holds.
-- KEYS[1] value   ARGV expected head ('' = nothing), new bytes ('' = remove), ttl in ms
-- 1 stored or removed, 0 something else is there, -1 no memory (and nothing of ours is left behind)
local head = redis.pcall('GETRANGE', KEYS[1], 0, 17)
if type(head) == 'table' then
  -- A foreign type is dropped; NOPERM and others are the caller's to know.
  if string.sub(head.err, 1, 9) ~= 'WRONGTYPE' then return head end
  redis.call('UNLINK', KEYS[1])
  head = ''
end
if head ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('UNLINK', KEYS[1])
  return 1
end
local stored = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if type(stored) == 'table' and stored.err then
  redis.call('UNLINK', KEYS[1])
  return -1
end
return 1
