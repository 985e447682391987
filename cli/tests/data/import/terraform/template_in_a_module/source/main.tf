module "service" {
  source      = "./service"
  cluster_arn = aws_dsql_cluster.main.arn
}

resource "aws_dsql_cluster" "main" {}
