"""The two endpoints, as plain views of Django REST framework."""

from django.urls import path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_api_key.permissions import HasAPIKey

from keys import create


class Verify(APIView):
    permission_classes = [HasAPIKey]

    def post(self, request):
        return Response({"valid": True})


class Keys(APIView):
    def post(self, request):
        return Response({"key": create()}, status=201)


urlpatterns = [path("verify", Verify.as_view()), path("keys", Keys.as_view())]
