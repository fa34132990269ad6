-- Removes values and generations, numbers the removal and tells the other processes, atomically.
-- KEYS values and generations of all names, last the sequence   ARGV channel, message
-- UNLINK comes first: it is allowed under OOM and makes the INCR after it legal there.
for i = 1, #KEYS - 1 do redis.call('UNLINK', KEYS[i]) end
local seq = redis.pcall('INCR', KEYS[#KEYS])
if type(seq) ~= 'number' then
  -- No sequence is one that everybody notices at the next check.
  redis.call('UNLINK', KEYS[#KEYS])
  seq = 0
elseif seq == 1 then
  -- A lost sequence starts at the time, so that it cannot repeat an earlier one.
  local time = redis.call('TIME')
  seq = time[1] * 1000000 + time[2]
  redis.call('SET', KEYS[#KEYS], string.format('%.0f', seq))
end
redis.call('PUBLISH', ARGV[1], string.format('%.0f', seq) .. ' ' .. ARGV[2])
return seq
