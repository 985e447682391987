locals {
  account  = data.aws_caller_identity.current.account_id
  services = { api = ["dsql:DbConnect"], migrator = ["dsql:DbConnect", "dsql:DbConnectAdmin"] }
  cluster  = "arn:aws:dsql:${var.region}:${local.account}:cluster/${aws_dsql_cluster.main.identifier}"
}

variable "region" {
  default = "us-east-1"
}

data "aws_caller_identity" "current" {}

resource "aws_dsql_cluster" "main" {
  tags = { stage = "test" }
}

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.github.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "service" {
  for_each           = local.services
  name               = "github-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

data "aws_iam_policy_document" "service" {
  for_each = local.services
  dynamic "statement" {
    for_each = each.value
    iterator = action
    content {
      actions   = [action.value]
      resources = [local.cluster]
    }
  }
  statement {
    sid       = "Own"
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::data/&{aws:username}/*"]
  }
}

resource "aws_iam_role_policy" "service" {
  for_each = local.services
  role     = aws_iam_role.service[each.key].id
  policy   = data.aws_iam_policy_document.service[each.key].json
}

resource "aws_iam_role" "task" {
  name               = "task"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "task" {
  role   = aws_iam_role.task.name
  policy = <<-EOT
    {
      "Version": "2012-10-17",
      "Statement": [
        {"Effect": "Allow", "Action": ${jsonencode([for name, actions in local.services : "dsql:DbConnect" if name == "api"])}, "Resource": "${local.cluster}"}
      ]
    }
  EOT
}
