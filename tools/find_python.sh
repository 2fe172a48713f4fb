# Print the first Python of the path that the lock has wheels for, or one that uv knows; else `python3`.
serves='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
for name in python3 python3.13 python3.12 python3.11 python; do
  if "$name" -c "$serves" 2>/dev/null; then
    echo "$name"
    exit
  fi
done
uv python find '>=3.11,<3.14' 2>/dev/null || echo python3
