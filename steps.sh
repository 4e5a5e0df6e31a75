# A key that can onboard, and nothing else
curl -s $URL/v1/users/editor/access-keys -H "Authorization: Bearer $ADMIN" \
  -H 'Content-Type: application/json' \
  -d '{"name":"agents","role":"cluster_onboarding","max_clusters":2}' > key.json
KEY=$(sed 's/.*"access_key":"\([^"]*\)".*/\1/' key.json)

# What an agent sends. Again, and from every node, it is the same cluster and the same slot
curl -s $URL/access-token/api/v1/process -H "Authorization: Bearer $KEY" \
  -d "{\"cluster_name\":\"prod\",\"node_name\":\"node-1\",\"type\":\"K8s\",\"token\":\"$KEY\"}" | tee join.json
JOIN=$(sed 's/.*"join_token":"\([^"]*\)".*/\1/' join.json)

# What the service that admits agents does with the join token: once, within ten minutes
curl -s $URL/v1/join-tokens/redeem -H "Authorization: Bearer $PLATFORM" \
  -H 'Content-Type: application/json' \
  -d "{\"join_token\":\"$JOIN\",\"cluster_name\":\"prod\",\"tenant_id\":\"acme\"}"

# The clusters; deleting one frees its slot
curl -s $URL/v1/clusters -H "Authorization: Bearer $ADMIN"
curl -s -X DELETE $URL/v1/clusters/prod -H "Authorization: Bearer $ADMIN"

