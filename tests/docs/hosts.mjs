// Loaded before the programs of the documents: the cluster's name leads here, as a line in /etc/hosts
// would make it.

import dns from "node:dns";

const lookup = dns.lookup;
dns.lookup = (host, ...rest) =>
  lookup(host === process.env.DSQL_ENDPOINT ? "localhost" : host, ...rest);
